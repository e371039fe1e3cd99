"""The status of one process, as ``/statusz`` shows it."""

import os
import platform
import socket
from datetime import UTC, datetime

import anyio

from chatd import __version__
from chatd.api.schema.process_status import (
    Actor,
    DatabaseStats,
    LeasedChat,
    Pool,
    ProcessStatus,
    Versions,
)
from chatd.daemon.process import Process
from chatd.daemon.services import Services
from chatd.daemon.stats_collector import StatsCollector
from chatd.supervision.child_supervisor import ChildSnapshot
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.lease import Lease
from chatd.worker.lease_stats import seconds_since_progress


class ProcessStatusReporter:
    """Reporter of the status of this process, assembled from the reports of its parts."""

    def __init__(
        self,
        services: Services,
        process: Process,
        *,
        chat_tasks: ChatTaskPool | None,
        stats_collector: StatsCollector,
    ) -> None:
        self._services = services
        self._process = process
        self._chat_tasks = chat_tasks
        self._stats_collector = stats_collector
        self._started_at = datetime.now(UTC)

    def status(self) -> ProcessStatus:
        """Return the status as of now."""
        now, database = datetime.now(UTC), self._services.database
        leases: tuple[Lease, ...] = ()
        free_slots = 0
        if self._chat_tasks is not None:
            leases, free_slots = self._chat_tasks.leases, max(self._chat_tasks.free_slots, 0)
        return ProcessStatus(
            worker_id=self._process.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            phase=self._process.state.phase(),
            started_at=self._started_at,
            uptime_seconds=(now - self._started_at).total_seconds(),
            versions=self._versions(),
            actors=[_actor_out(actor) for actor in self._process.state.actors()],
            chats=[_leased_chat_out(lease, now) for lease in leases],
            free_slots=free_slots,
            streams=self._services.hub.subscriber_count + self._services.list_hub.subscriber_count,
            pool=Pool(
                size=database.pool_size,
                in_use=database.connections_in_use,
                waiting=database.waiting_statements,
            ),
            loop_lag_seconds=self._process.loop_monitor.lag_seconds,
            database_stats=self._database_stats(),
        )

    def _versions(self) -> Versions:
        latest = self._stats_collector.latest
        return Versions(
            chatd=__version__,
            python=platform.python_version(),
            postgresql=latest.stats.server_version if latest else None,
        )

    def _database_stats(self) -> DatabaseStats | None:
        latest = self._stats_collector.latest
        if latest is None:
            return None
        return DatabaseStats(
            seconds_ago=anyio.current_time() - latest.taken_at,
            chats=dict(latest.stats.chats),
            oldest_pending_seconds=self._stats_collector.oldest_pending_seconds(),
            workers=latest.stats.workers,
        )


def _actor_out(snapshot: ChildSnapshot) -> Actor:
    return Actor(
        name=snapshot.name,
        state=snapshot.state,
        seconds=anyio.current_time() - snapshot.since,
        restarts=snapshot.restarts,
        budget_left=snapshot.budget_left,
        last_error=snapshot.last_error,
        note=snapshot.status_note,
    )


def _leased_chat_out(lease: Lease, now: datetime) -> LeasedChat:
    chat, progress = lease.chat, lease.progress.snapshot()
    return LeasedChat(
        chat_id=lease.fence.chat_id,
        status=chat.status,
        epoch=lease.fence.epoch,
        committed_steps=chat.committed_steps,
        leased_seconds=(now - chat.started_at).total_seconds() if chat.started_at else 0.0,
        stage=progress.stage,
        stage_seconds=progress.stage_age_seconds,
        deadline_seconds=progress.deadline_in_seconds,
        last_progress=progress.last_progress,
        seconds_since_progress=seconds_since_progress(lease),
        lease_left_seconds=lease.remaining_seconds,
    )
