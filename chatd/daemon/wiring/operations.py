"""What operators see of a process: the metrics, the status, and the actors that these need."""

from collections.abc import Callable, Sequence
from uuid import UUID

from chatd.api.routes.operations import Operations
from chatd.daemon.loop_monitor import LoopMonitor
from chatd.daemon.process_status import ActorSnapshots, ProcessStatusReporter
from chatd.daemon.services import Services
from chatd.daemon.stats_collector import StatsCollector
from chatd.settings import Settings
from chatd.store.database import Database
from chatd.store.stats import DatabaseStats
from chatd.supervision.child import ChildSpec
from chatd.supervision.child_supervisor import ChildState
from chatd.telemetry.metrics import LeaseMetrics, ProcessMetrics
from chatd.telemetry.prometheus import PrometheusCollector
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.lease_stats import count_stalled, oldest_renewal_age, seconds_since_progress


class OperationsComponents:
    """``get_operations`` is what the routes show, ``child_specs`` are the children."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        *,
        worker_id: UUID,
        chat_tasks: ChatTaskPool | None,
        loop_monitor: LoopMonitor,
        actors: ActorSnapshots,
        phase: Callable[[], str],
    ) -> None:
        given, metrics = settings.metrics, services.metrics
        self._stats_collector = StatsCollector(
            DatabaseStats(services.database, lease_seconds=settings.worker.lease_seconds),
            metrics.database,
            refresh_interval_seconds=given.refresh_interval_seconds,
        )
        _bind_process_metrics(metrics.process, services.database, actors)
        metrics.streams.open_streams.callback = lambda: {
            ("chat",): services.hub.subscriber_count,
            ("list",): services.list_hub.subscriber_count,
        }
        if chat_tasks is not None:
            _bind_lease_metrics(
                metrics.leases, chat_tasks, stalled_after_seconds=given.stalled_after_seconds
            )
        panel = ProcessStatusReporter(
            services,
            worker_id=worker_id,
            chat_tasks=chat_tasks,
            actors=actors,
            stats_collector=self._stats_collector,
            loop_monitor=loop_monitor,
            phase=phase,
        )
        self.operations = Operations(
            metrics=PrometheusCollector(metrics).render,
            status=panel.status,
            public=settings.auth.mode == "none",
            public_metrics=given.public,
        )

    def child_specs(self) -> Sequence[ChildSpec]:
        return [
            ChildSpec(name="stats collector", start=self._stats_collector.run),
        ]


def _bind_process_metrics(
    metrics: ProcessMetrics, database: Database, actors: ActorSnapshots
) -> None:
    """Have the metrics of the process read where its numbers are."""
    metrics.actor_up.callback = lambda: {
        (one.name,): one.state is ChildState.RUNNING
        for one in actors()
        if one.state is not ChildState.STOPPED  # it has done what it was for
    }
    metrics.actor_restarts.callback = lambda: {(one.name,): one.restarts for one in actors()}
    metrics.restart_budget_left.callback = lambda: {
        (one.name,): one.budget_left for one in actors()
    }
    metrics.pool_size.callback = lambda: database.pool_size
    metrics.pool_in_use.callback = lambda: database.connections_in_use
    metrics.pool_waiting.callback = lambda: database.waiting_statements
    metrics.pool_wait_seconds.callback = lambda: database.wait_seconds_total
    metrics.statements.callback = lambda: database.statement_count


def _bind_lease_metrics(
    metrics: LeaseMetrics, chat_tasks: ChatTaskPool, *, stalled_after_seconds: float
) -> None:
    """Have the metrics of what is owned read off the roster."""
    metrics.leased_chats.callback = lambda: len(chat_tasks.leases)
    metrics.free_slots.callback = lambda: max(chat_tasks.free_slots, 0)
    metrics.lease_age.callback = lambda: oldest_renewal_age(chat_tasks.leases)
    metrics.without_progress.callback = lambda: count_stalled(
        chat_tasks.leases, stalled_after_seconds
    )
    metrics.progress_age.callback = lambda: max(
        map(seconds_since_progress, chat_tasks.leases), default=0.0
    )
