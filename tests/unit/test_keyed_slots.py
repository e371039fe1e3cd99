"""Slots by key: the bound, the order of those that wait, and nothing that is left behind."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from chatd.supervision.keyed_slots import KeyedSlots, RecentKeys, SlotsTaken


def slots_of(limit: int, **more: float) -> KeyedSlots:
    return KeyedSlots(lambda: limit, **({"wait_seconds": 30.0} | more))  # type: ignore[arg-type]


async def test_others_wait_in_order() -> None:
    slots, order = slots_of(2), []
    held = [await slots.take("ann") for _ in range(2)]
    assert await slots.take("bob")

    async def work(number: int) -> None:
        slot = await slots.take("ann")
        order.append(number)
        await anyio.lowlevel.checkpoint()
        slot.release()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(number))
        await anyio.sleep(0.01)
        assert order == []
        held[0].release()
        held[0].release()  # changes nothing
        await anyio.sleep(0.01)
        assert order == [0, 1, 2, 3, 4]
    held[1].release()
    assert slots._keys.keys() == {"bob"}


async def test_wait_is_bounded_in_time_and_number() -> None:
    slots = slots_of(1, wait_seconds=0.05, max_waiting=2)
    held = await slots.take("ann")
    outcomes = await asyncio.gather(*(slots.take("ann") for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [SlotsTaken] * 3
    held.release()
    (await slots.take("ann")).release()
    assert slots._keys == {}


async def test_cancelled_waiters_take_no_slot() -> None:
    slots = slots_of(1)
    held = await slots.take("ann")
    tasks = [asyncio.ensure_future(slots.take("ann")) for _ in range(4)]
    await anyio.lowlevel.checkpoint()
    tasks[0].cancel()
    held.release()  # to the second, which is cancelled before it has run
    tasks[1].cancel()
    await asyncio.wait(tasks[:3])
    assert [task.cancelled() for task in tasks[:2]] == [True, True]
    tasks[2].result().release()
    (await tasks[3]).release()
    assert slots._keys == {}


async def test_limit_is_read_anew() -> None:
    limit = 1
    slots = KeyedSlots(lambda: limit, wait_seconds=0.01)
    held = await slots.take("ann")
    with pytest.raises(SlotsTaken):
        await slots.take("ann")
    limit = 0
    for _ in range(10):
        await slots.take("ann")
    held.release()
    assert slots._keys == {}


async def test_key_has_fewer_slots_while_others_are_active() -> None:
    """The limit falls at the use of another key, and rises a minute after its last use."""
    now = 0.0
    slots = KeyedSlots(lambda: 4, shared_limit=lambda: 1, wait_seconds=30.0, clock=lambda: now)
    held = [await slots.take("ann") for _ in range(4)]
    (await slots.take("bob")).release()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(slots.take("ann")) for _ in range(4)]
        await anyio.sleep(0.01)
        for slot in held:  # down to one at once
            slot.release()
        await anyio.sleep(0.01)
        assert [task.done() for task in waiting] == [True, False, False, False]
        now = 61.0
        waiting[0].result().release()
        await anyio.sleep(0.01)
        assert [task.done() for task in waiting] == [True] * 4
    for task in waiting:
        task.result().release()
    assert slots._keys == {}


def test_another_key_is_known_among_any_number() -> None:
    now = 0.0
    recent = RecentKeys(clock=lambda: now)
    recent.use("ann")
    assert not recent.has_another_than("ann")
    assert recent.has_another_than("bob")
    for key in ("bob", "eve", "ann", "ann"):
        recent.use(key)
    assert recent.has_another_than("ann")
    now = 60.0
    recent.use("ann")
    assert not recent.has_another_than("ann")
    assert len(recent._used_at) == 2
