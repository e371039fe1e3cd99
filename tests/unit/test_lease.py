"""Leases: the local deadline, the cancel causes, and what renewals do to them.

Each check is tested alone: in a daemon the watchdog, the heartbeat and the fencing token cover for each
other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from support.chats import leased_chat
from support.eventually import eventually
from support.providers import catalog, scripted
from support.unit_leases import UNUSED, lease
from support.virtual_clock import on_virtual_time

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.hint import Hint
from chatd.fanout.hub import ChatHub
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.store.histories import ChatHistory
from chatd.store.leases import Renewal
from chatd.supervision.child import ChildHandle
from chatd.tools.registry import ToolRegistry
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime
from chatd.worker.flusher import Flusher
from chatd.worker.lease import Cause, Lease
from chatd.worker.model_call import ModelCall
from chatd.worker.turn_limits import TurnLimits
from chatd.worker.worker_lease import WorkerLease
from chatd.worker.writer import Writer


def pool() -> ChatTaskPool:
    return ChatTaskPool(
        UNUSED,
        config=UNUSED,
        max_chats=lambda: 1,
        worker_lease=WorkerLease(local_lease_seconds=15.0),
        grace_seconds=0.0,
        abandon_after_seconds=20.0,
    )


def renewal(chat: Chat, **changes: Any) -> Renewal:
    fields = {"chat_id": chat.id, "epoch": chat.epoch, "version": chat.version}
    return Renewal(**(fields | {"status": chat.status} | changes))


# -- the local deadline ---------------------------------------------------------------------------


async def test_expired_lease_is_invalid() -> None:
    lease().ensure_valid()
    with pytest.raises(LeaseLost):
        lease(age_seconds=100).ensure_valid()


async def test_lost_lease_is_invalid_before_it_expires() -> None:
    held = lease()
    held.cancel(Cause.LOST)
    with pytest.raises(LeaseLost):
        held.ensure_valid()


@asynccontextmanager
async def model_call(held: Lease) -> AsyncIterator[tuple[ModelCall, ScriptedProvider]]:
    """Yield a model call of a leased chat, and its provider."""
    provider = scripted()
    models = catalog(provider)
    limits = TurnLimits(
        stream_idle_timeout_seconds=1,
        model_call_timeout_seconds=1,
        timeout_seconds=1,
        client_tool_timeout_seconds=1,
        max_steps=1,
        max_repeated_calls=0,
    )
    async with ModelCall(
        catalog=models,
        hub=ChatHub(subscriber_buffer=1),
        flusher=Flusher(UNUSED, flush_interval_seconds=1, flush_bytes=1),
        limits=limits,
        lease=held,
        read_files=UNUSED,
        model=models.default,
        tools=ToolRegistry(),
    ) as call:
        yield call, provider


async def test_model_is_not_called_on_an_expired_lease() -> None:
    async with model_call(lease(age_seconds=100)) as (call, provider):
        with pytest.raises(LeaseLost):
            await call.run(ChatHistory())
    assert provider.calls == 0


@on_virtual_time
async def test_model_is_not_called_while_the_heartbeat_has_no_connection() -> None:
    """Another worker may have the chat by now, or a stop may have been requested."""
    held = lease()
    held._worker_lease.interrupted()
    async with model_call(held) as (call, provider), anyio.create_task_group() as group:
        group.start_soon(call.run, ChatHistory())
        await anyio.sleep(10)
        assert provider.calls == 0
        held._worker_lease.renewed(boottime())
        await anyio.sleep(1)
        assert provider.calls == 1


class UnavailableTurns:
    """Store whose reads always fail, as during an outage."""

    def __init__(self) -> None:
        self.reads = 0

    async def history(self, _: object) -> None:
        self.reads += 1
        assert self.reads == 1, "read again"
        raise DatabaseUnavailable


@on_virtual_time
async def test_writer_does_not_retry_on_an_expired_lease() -> None:
    turns = UnavailableTurns()
    writer = Writer(cast("Any", turns), UNUSED, lease(age_seconds=100))
    with pytest.raises(LeaseLost):
        await writer.history()
    assert turns.reads == 1


# -- cancel causes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ([Cause.INTERRUPTED, Cause.SHUTDOWN], Cause.INTERRUPTED),
        ([Cause.SHUTDOWN, Cause.INTERRUPTED], Cause.SHUTDOWN),
        ([Cause.INTERRUPTED, Cause.LOST], Cause.LOST),
        ([Cause.SHUTDOWN, Cause.LOST], Cause.LOST),
        ([Cause.LOST, Cause.INTERRUPTED], Cause.LOST),
    ],
)
async def test_first_cause_counts_unless_the_lease_is_lost(
    causes: list[Cause], expected: Cause
) -> None:
    held = lease()
    for cause in causes:
        held.cancel(cause)
    assert held.cause is expected


# -- renewals -------------------------------------------------------------------------------------


async def test_renewal_extends_the_lease() -> None:
    held = lease(age_seconds=100)
    pool().apply_renewals([held], [renewal(held.chat)], sent_at=boottime())
    assert held.cause is None
    assert held.remaining_seconds > 10


@pytest.mark.parametrize(("newer", "cause"), [(1, Cause.INTERRUPTED), (0, None), (-1, None)])
async def test_renewal_interrupts_only_if_it_is_newer_than_the_chat(
    newer: int, cause: Cause | None
) -> None:
    """A renewal of before the task's own transition must not interrupt the next turn of the queue."""
    held = lease()
    interrupting = renewal(held.chat, status=Status.INTERRUPTING, version=held.chat.version + newer)
    pool().apply_renewals([held], [interrupting], sent_at=boottime())
    assert held.cause is cause


async def test_chat_without_a_renewal_is_lost() -> None:
    held, other_epoch = lease(), lease()
    renewals = [renewal(other_epoch.chat, epoch=other_epoch.chat.epoch + 1)]
    pool().apply_renewals([held, other_epoch], renewals, sent_at=boottime())
    assert (held.cause, other_epoch.cause) == (Cause.LOST, Cause.LOST)


async def test_chat_without_a_renewal_is_not_lost_during_its_transition() -> None:
    held, ended = lease(), lease(chat=leased_chat(status=Status.WAITING))
    held.transition_in_flight = True
    pool().apply_renewals([held, ended], [], sent_at=boottime())
    assert (held.cause, ended.cause) == (None, None)


@pytest.mark.parametrize(
    ("in_flight", "newer", "status", "doubts"),
    [
        (False, 0, Status.WAITING, 0),
        (False, 1, Status.WAITING, 1),
        (False, 1, Status.RUNNING, 0),
        (True, 1, Status.WAITING, 0),
        (True, 2, Status.WAITING, 1),
    ],
)
async def test_hint_of_an_unexpected_version_wakes_the_heartbeat(
    in_flight: bool, newer: int, status: Status, doubts: int
) -> None:
    """The hint of the task's own transition arrives before its result, and is no reason for doubt."""
    held, tasks, seen = lease(), pool(), list[None]()
    held.transition_in_flight = in_flight
    tasks._leases[held.chat.id] = held
    tasks.on_lease_in_doubt = lambda: seen.append(None)
    tasks.handle_hint(Hint(held.chat.id, held.chat.version + newer, status))
    assert len(seen) == doubts


# -- tasks that do not end ------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [True, False])
async def test_only_a_task_that_should_have_ended_is_given_up(
    monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """It is given up once the watchdog has seen it overdue for long enough.

    A process that was stopped, or whose loop was blocked, gave its tasks no time to end.
    """
    now = boottime()
    monkeypatch.setattr("chatd.worker.chat_tasks.boottime", lambda: now)
    held, tasks = lease(), pool()
    tasks._leases[held.chat.id] = held
    if cancelled:
        held.cancel(Cause.INTERRUPTED)
    looks = [*[(1, False)] * 10, (600, False), *[(1, False)] * 9, (1, cancelled)]
    for seconds, given_up in looks:
        now += seconds
        held.renewed_at = boottime()
        await tasks.watch()
        assert (held not in tasks.leases) == given_up
    assert held.cause is (Cause.LOST if cancelled else None)


async def test_task_that_stores_the_result_of_an_interrupt_has_the_rest_of_its_lease_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was left to a statement until then, and is given up only if it does not end after that."""
    now = boottime()
    monkeypatch.setattr("chatd.worker.chat_tasks.boottime", lambda: now)
    held, tasks = lease(), pool()
    tasks._leases[held.chat.id] = held

    async def look(times: int) -> bool:
        nonlocal now
        for _ in range(times):
            now += 1
            held.renewed_at = boottime()
            await tasks.watch()
        return held in tasks.leases

    held.cancel(Cause.INTERRUPTED)
    assert await look(19)
    with held.stop_scope(Cause.INTERRUPTED) as stop:
        assert await look(14)
        stop.deadline = anyio.current_time() - 1
        assert await look(20)
        assert not await look(2)


async def test_pool_that_stops_claiming_has_no_free_slots_in_a_later_life() -> None:
    """The supervisor restarts it in the middle of a stop."""
    tasks = pool()
    async with anyio.create_task_group() as group:
        child = ChildHandle("chats")
        group.start_soon(tasks.run, child)
        await eventually(lambda: child.is_ready)
        assert tasks.free_slots == 1
        tasks.stop_claiming()
        child.stopping.set()
    async with anyio.create_task_group() as group:
        child = ChildHandle("chats")
        group.start_soon(tasks.run, child)
        await eventually(lambda: child.is_ready)
        assert tasks.free_slots == 0
        child.stopping.set()


# -- the stop of a cancelled turn -----------------------------------------------------------------
