"""Metrics of leases: their age, their progress and the reasons for their loss."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from support.eventually import eventually
from support.factories import chat_with_status
from support.in_process import fetch_rows, running_daemon
from support.leases import age_heartbeat
from support.metrics import MetricsObserver
from support.providers import FunctionProvider, finished, text_delta

from chatd.domain.chat import Status
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.store.leases import Leases


class BlockedProvider:
    """Provider whose calls last until ``go`` is set."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.go = asyncio.Event()

    @property
    def called(self) -> int:
        return len(self.provider.requests)

    async def _act(self, _: ModelRequest) -> AsyncIterator[Delta]:
        await self.go.wait()
        yield text_delta("done")
        yield finished()


async def test_heartbeats_and_leased_chats(dsn: str) -> None:
    blocked = BlockedProvider()
    worker = {"heartbeat_seconds": 0.1, "max_chats": 10}
    async with running_daemon(dsn, blocked.provider, worker=worker) as chatd:
        meter = await MetricsObserver.start(chatd)
        assert (await meter.current()).sum_of("chatd_free_slots") == 10
        assert (await meter.current()).sum_of("chatd_lease_age_seconds") == 0
        await chatd.api.create("hello")
        await eventually(lambda: blocked.called)
        await meter.wait_for_value("chatd_leased_chats", 1)
        assert (await meter.current()).sum_of("chatd_free_slots") == 9
        beats = await meter.increase("chatd_heartbeat_seconds_count")
        assert await eventually(lambda: _exceeds(meter, "chatd_heartbeat_seconds_count", beats + 2))
        assert await meter.increase("chatd_heartbeat_lag_seconds_count") > beats
        assert await meter.increase("chatd_heartbeat_seconds_sum") > 0
        [hand] = chatd.daemon.chat_tasks.leases
        ages = (await meter.current()).sum_of("chatd_lease_age_seconds")
        assert 0 < ages < hand.remaining_seconds + 20
        blocked.go.set()
        await meter.wait_for_value("chatd_leased_chats", 0)


@pytest.mark.parametrize("own", [True, False])
async def test_lock_is_proved_in_a_session_of_its_own(
    dsn: str, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """A pooler may give the session to others, and then the lock says nothing."""

    async def owns_session(*_: object) -> bool:
        return own

    monkeypatch.setattr(Leases, "owns_session", owns_session)
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        await meter.wait_for_value("chatd_worker_lock_proved", float(own))


async def _exceeds(meter: MetricsObserver, name: str, limit: float) -> bool:
    return await meter.increase(name) > limit


async def test_lease_age_grows_without_renewal(dsn: str) -> None:
    blocked = BlockedProvider()
    worker = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(dsn, blocked.provider, worker=worker) as chatd:
        meter = await MetricsObserver.start(chatd)
        await chatd.api.create("hello")
        await eventually(lambda: blocked.called)
        [hand] = chatd.daemon.chat_tasks.leases
        hand.renewed_at -= 500
        assert 500 < (await meter.current()).sum_of("chatd_lease_age_seconds") < 600
        blocked.go.set()
        await meter.wait_for_value("chatd_lease_age_seconds", 0)


async def test_late_heartbeat_is_observed(dsn: str) -> None:
    async with running_daemon(dsn, worker={"heartbeat_seconds": 0.05}) as chatd:
        meter = await MetricsObserver.start(chatd)
        heartbeat = chatd.daemon.actors.worker.heartbeat
        heartbeat._renewed_at -= 7
        assert await eventually(lambda: _exceeds(meter, "chatd_heartbeat_lag_seconds_sum", 6.9))


async def test_stalled_chat_is_counted_until_it_progresses(dsn: str) -> None:
    blocked = BlockedProvider()
    async with running_daemon(
        dsn, blocked.provider, metrics={"stalled_after_seconds": 300}
    ) as chatd:
        meter = await MetricsObserver.start(chatd)
        await chatd.api.create("hello")
        await eventually(lambda: blocked.called)
        assert (await meter.current()).sum_of("chatd_chats_without_progress") == 0
        [hand] = chatd.daemon.chat_tasks.leases
        hand.progress.progress_at -= 500
        hand.progress._stages[-1].started_at -= 500
        seen = await meter.current()
        assert seen.sum_of("chatd_chats_without_progress") == 1
        assert 500 <= seen.sum_of("chatd_progress_age_seconds") < 600
        hand.progress.mark("something")
        seen = await meter.current()
        assert seen.sum_of("chatd_chats_without_progress") == 0
        assert seen.sum_of("chatd_progress_age_seconds") < 300
        blocked.go.set()
        await meter.wait_for_value("chatd_leased_chats", 0)


async def test_edit_and_delete_count_as_lost_leases(dsn: str) -> None:
    blocked = BlockedProvider()
    async with running_daemon(dsn, blocked.provider) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await eventually(lambda: blocked.called == 1)
        [message] = await chatd.api.messages(chat["id"])
        await chatd.api.edit(chat["id"], message["id"], "hello again")
        await meter.wait_for_increase("chatd_leases_lost_total", reason="edited")
        await eventually(lambda: blocked.called == 2)
        await chatd.api.http.delete(f"/api/v1/chats/{chat['id']}")
        await meter.wait_for_increase("chatd_leases_lost_total", reason="deleted")
        assert await meter.increase("chatd_turns_total", outcome="lost") == 2


async def test_fenced_write_is_counted(dsn: str, database: Database) -> None:
    """Another worker has claimed the chat, and this one has not noticed."""
    blocked = BlockedProvider()
    worker = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(dsn, blocked.provider, worker=worker) as chatd:
        meter = await MetricsObserver.start(chatd)
        await chatd.api.create("hello")
        await eventually(lambda: blocked.called)
        await fetch_rows(database, "UPDATE chats SET epoch = epoch + 1")
        blocked.go.set()
        await meter.wait_for_increase("chatd_fence_rejections_total", transition="finish_turn")
        await meter.wait_for_increase("chatd_leases_lost_total")
        assert await meter.increase("chatd_fence_rejections_total") == 1


async def test_reaps_by_reason(dsn: str, database: Database) -> None:
    """One worker has a free lock in two looks, and the lease of another is over."""
    async with running_daemon(dsn, worker={"reap_interval_seconds": 600}) as chatd:
        meter = await MetricsObserver.start(chatd)
        reaper, now = chatd.daemon.actors.worker.reaper, 0.0
        reaper._clock = lambda: now
        model = {"last_model_config_id": chatd.daemon.catalog.default.id}
        await chat_with_status(database, Status.RUNNING, **model)
        old = await chat_with_status(database, Status.RUNNING, worker_id=uuid4(), **model)
        assert old.worker_id is not None
        await chat_with_status(database, Status.INTERRUPTING, **model)
        await chat_with_status(database, Status.RUNNING, recoveries=3, **model)
        await reaper.step()
        await age_heartbeat(database, old.worker_id, 86_400)
        now = 1.0
        await reaper.step()
        await meter.wait_for_increase("chatd_takeovers_total", 2)
        assert await meter.increase("chatd_reaps_total", reason="worker_dead") == 2
        assert await meter.increase("chatd_reaps_total", reason="lease_expired") == 1
        assert await meter.increase("chatd_reaps_total", reason="interrupting") == 1
        assert await meter.increase("chatd_crash_loops_total") == 1
        assert await meter.increase("chatd_claims_total") == 2
