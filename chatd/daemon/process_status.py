"""What operators see of one process, put together from what its parts know of themselves."""

import os
import platform
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import anyio

from chatd import __version__
from chatd.api.schema.process_status import (
    ActorOut,
    DatabaseStatsOut,
    LeasedChatOut,
    PoolOut,
    ProcessStatusOut,
    Versions,
)
from chatd.daemon.loop_monitor import LoopMonitor
from chatd.daemon.services import Services
from chatd.daemon.stats_collector import StatsCollector
from chatd.supervision.child_supervisor import ChildSnapshot
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.lease import Lease
from chatd.worker.lease_stats import seconds_since_progress

ActorSnapshots = Callable[[], Sequence[ChildSnapshot]]


class ProcessStatusReporter:
    """The status of this process."""

    def __init__(
        self,
        services: Services,
        *,
        worker_id: UUID,
        chat_tasks: ChatTaskPool | None,
        actors: ActorSnapshots,
        stats_collector: StatsCollector,
        loop_monitor: LoopMonitor,
        phase: Callable[[], str],
    ) -> None:
        self._services = services
        self._worker_id = worker_id
        self._chat_tasks = chat_tasks
        self._actors = actors
        self._stats_collector = stats_collector
        self._loop_monitor = loop_monitor
        self._phase = phase
        self._started_at = datetime.now(UTC)

    def status(self) -> ProcessStatusOut:
        """As it is now."""
        now, database = datetime.now(UTC), self._services.database
        hands: tuple[Lease, ...] = ()
        room = 0
        if self._chat_tasks is not None:
            hands, room = self._chat_tasks.leases, max(self._chat_tasks.free_slots, 0)
        return ProcessStatusOut(
            worker_id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            phase=self._phase(),
            started_at=self._started_at,
            uptime_seconds=(now - self._started_at).total_seconds(),
            versions=self._versions(),
            actors=[_actor_out(one) for one in self._actors()],
            chats=[_leased_chat_out(hand, now) for hand in hands],
            free_slots=room,
            streams=self._services.hub.subscriber_count + self._services.list_hub.subscriber_count,
            pool=PoolOut(
                size=database.pool_size,
                in_use=database.connections_in_use,
                waiting=database.waiting_statements,
            ),
            loop_lag_seconds=self._loop_monitor.lag_seconds,
            database_stats=self._database_stats(),
        )

    def _versions(self) -> Versions:
        taken = self._stats_collector.latest
        return Versions(
            chatd=__version__,
            python=platform.python_version(),
            postgresql=taken.stats.server_version if taken else None,
        )

    def _database_stats(self) -> DatabaseStatsOut | None:
        taken = self._stats_collector.latest
        if taken is None:
            return None
        return DatabaseStatsOut(
            seconds_ago=anyio.current_time() - taken.taken_at,
            chats=dict(taken.stats.chats),
            oldest_pending_seconds=self._stats_collector.oldest_pending_seconds(),
            workers=taken.stats.workers,
        )


def _actor_out(snapshot: ChildSnapshot) -> ActorOut:
    return ActorOut(
        name=snapshot.name,
        state=snapshot.state,
        seconds=anyio.current_time() - snapshot.since,
        restarts=snapshot.restarts,
        budget_left=snapshot.budget_left,
        last_error=snapshot.last_error,
        note=snapshot.status_note,
    )


def _leased_chat_out(lease: Lease, now: datetime) -> LeasedChatOut:
    chat, seen = lease.chat, lease.progress.snapshot()
    return LeasedChatOut(
        chat_id=lease.fence.chat_id,
        status=chat.status,
        epoch=lease.fence.epoch,
        committed_steps=chat.committed_steps,
        leased_seconds=(now - chat.started_at).total_seconds() if chat.started_at else 0.0,
        stage=seen.stage,
        stage_seconds=seen.stage_age_seconds,
        deadline_seconds=seen.deadline_in_seconds,
        last_progress=seen.last_progress,
        seconds_since_progress=seconds_since_progress(lease),
        lease_left_seconds=lease.remaining_seconds,
    )
