"""The flag of a subscriber, and the timer of its keep-alives."""

import asyncio

import anyio
import pytest
from support.virtual_clock import VirtualClockLoop, on_virtual_time

from chatd.fanout.wakeup import Wakeup
from chatd.streaming.idle_timer import IdleTimer


@on_virtual_time
async def test_flag_that_was_set_before_is_not_waited_for() -> None:
    flag = Wakeup()
    flag.set()
    flag.set()
    await flag.wait()
    await flag.wait()
    assert flag.is_set


@on_virtual_time
async def test_cleared_flag_is_waited_for_until_it_is_set() -> None:
    flag = Wakeup()
    flag.set()
    flag.clear()
    asyncio.get_running_loop().call_later(3, flag.set)
    await flag.wait()
    assert anyio.current_time() == 3


@on_virtual_time
async def test_flag_set_after_its_waiter_was_cancelled_is_kept_for_the_next() -> None:
    flag = Wakeup()
    with anyio.move_on_after(1):
        await flag.wait()
    flag.set()
    await flag.wait()
    assert anyio.current_time() == 1


@on_virtual_time
async def test_flag_set_in_the_tick_of_a_cancellation_raises_nothing() -> None:
    flag = Wakeup()
    task = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    task.cancel()
    flag.set()
    flag.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert flag.is_set


@on_virtual_time
async def test_timer_is_due_each_time_that_nothing_was_sent_for_long() -> None:
    flag, due_at = Wakeup(), []
    with IdleTimer(flag.set, seconds=10) as timer:
        for _ in range(3):
            await flag.wait()
            assert timer.is_due
            due_at.append(anyio.current_time())
            flag.clear()
            timer.restart()
    assert due_at == [10, 20, 30]


@on_virtual_time
async def test_timer_is_not_due_while_something_is_sent_and_is_set_once_per_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers_set, call_at = [], VirtualClockLoop.call_at
    flag = Wakeup()
    with IdleTimer(flag.set, seconds=10) as timer:

        def count(loop: VirtualClockLoop, when: float, *args: object, **more: object) -> object:
            if getattr(args[0], "__self__", None) is timer:
                timers_set.append(when)
            return call_at(loop, when, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(VirtualClockLoop, "call_at", count)
        for _ in range(100):
            await anyio.sleep(1)
            timer.restart()
            assert not timer.is_due
        monkeypatch.undo()
        assert len(timers_set) < 15, "a restart sets no timer"
        await flag.wait()
    assert anyio.current_time() == 110


@on_virtual_time
async def test_timer_that_was_left_wakes_nobody() -> None:
    flag = Wakeup()
    with IdleTimer(flag.set, seconds=1):
        pass
    await anyio.sleep(5)
    assert not flag.is_set
