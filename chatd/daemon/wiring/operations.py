"""The parts that operators watch: metrics of the process, its status, and database stats."""

import socket

from chatd.api.routes.operations import Operations
from chatd.daemon.process import Process, ProcessState
from chatd.daemon.process_status import ProcessStatusReporter
from chatd.daemon.services import Services
from chatd.daemon.stats_collector import StatsCollector
from chatd.settings import Settings
from chatd.store.database import Database
from chatd.store.stats import DatabaseStats
from chatd.supervision.child_supervisor import ChildState
from chatd.telemetry.history import MetricsHistory
from chatd.telemetry.metrics import LeaseMetrics, ProcessMetrics
from chatd.telemetry.prometheus import PrometheusCollector
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.lease_stats import count_stalled, oldest_renewal_age, seconds_since_progress


def build_stats_collector(settings: Settings, services: Services) -> StatsCollector:
    """Build the actor that refreshes the counts over the whole database."""
    return StatsCollector(
        DatabaseStats(services.database, lease_seconds=settings.worker.lease_seconds),
        services.metrics.database,
        refresh_interval_seconds=settings.metrics.refresh_interval_seconds,
    )


def build_operations(
    settings: Settings,
    services: Services,
    process: Process,
    *,
    chat_tasks: ChatTaskPool | None,
    stats_collector: StatsCollector,
    history: MetricsHistory,
) -> Operations:
    """Build what ``/metrics`` and ``/statusz`` show, and bind the metrics to their sources."""
    metrics = services.metrics
    _bind_process_metrics(metrics.process, services.database, process.state)
    metrics.streams.open_streams.callback = lambda: {
        ("chat",): services.hub.subscriber_count,
        ("list",): services.list_hub.subscriber_count,
    }
    if chat_tasks is not None:
        stalled_after_seconds = settings.metrics.stalled_after_seconds
        _bind_lease_metrics(metrics.leases, chat_tasks, stalled_after_seconds)
    reporter = ProcessStatusReporter(
        services,
        process,
        chat_tasks=chat_tasks,
        stats_collector=stats_collector,
    )
    return Operations(
        metrics=PrometheusCollector(metrics).render,
        status=reporter.status,
        history=history.read,
        pending_states=stats_collector.pending_states,
        worker_id=process.worker_id,
        host=socket.gethostname(),
        public_metrics=settings.metrics.public,
    )


def _bind_process_metrics(metrics: ProcessMetrics, database: Database, state: ProcessState) -> None:
    """Have the metrics of the process read its actors and its connection pool."""
    metrics.actor_up.callback = lambda: {
        (actor.name,): actor.state is ChildState.RUNNING
        for actor in state.actors()
        if actor.state is not ChildState.STOPPED  # a temporary actor that has finished
    }
    metrics.actor_restarts.callback = lambda: {
        (actor.name,): actor.restarts for actor in state.actors()
    }
    metrics.restart_budget_left.callback = lambda: {
        (actor.name,): actor.budget_left for actor in state.actors()
    }
    metrics.pool_size.callback = lambda: database.pool_limit
    metrics.pool_in_use.callback = lambda: database.connections_in_use
    metrics.pool_waiting.callback = lambda: database.waiting_statements
    metrics.pool_wait_seconds.callback = lambda: database.wait_seconds_total
    metrics.statements.callback = lambda: database.statement_count


def _bind_lease_metrics(
    metrics: LeaseMetrics, chat_tasks: ChatTaskPool, stalled_after_seconds: float
) -> None:
    """Have the metrics of leased chats read the task pool."""
    metrics.leased_chats.callback = lambda: len(chat_tasks.leases)
    metrics.free_slots.callback = lambda: max(chat_tasks.free_slots, 0)
    metrics.lease_age.callback = lambda: oldest_renewal_age(chat_tasks.leases)
    metrics.without_progress.callback = lambda: count_stalled(
        chat_tasks.leases, stalled_after_seconds
    )
    metrics.progress_age.callback = lambda: max(
        map(seconds_since_progress, chat_tasks.leases), default=0.0
    )
