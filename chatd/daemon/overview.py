"""What operators see of a process: the metrics, the status, and the actors that these need."""

from collections.abc import Callable, Sequence
from uuid import UUID

from chatd.api.operations import Operations
from chatd.daemon.census_taker import CensusTaker
from chatd.daemon.loop_watch import LoopWatch
from chatd.daemon.panel import Actors, Panel
from chatd.daemon.rooms import Rooms
from chatd.settings import Settings
from chatd.store.census import DatabaseStats
from chatd.store.pool import Database
from chatd.supervision.actor import ChildSpec
from chatd.supervision.keeper import ChildState
from chatd.telemetry.exposition import PrometheusCollector
from chatd.telemetry.metrics import LeaseMetrics, ProcessMetrics
from chatd.work.outlook import count_stalled, oldest_renewal_age, seconds_since_progress
from chatd.work.roster import ChatTaskPool


class Overview:
    """``get_operations`` is what the routes show, ``specs`` are the children."""

    def __init__(
        self,
        settings: Settings,
        rooms: Rooms,
        *,
        worker_id: UUID,
        roster: ChatTaskPool | None,
        loop_watch: LoopWatch,
        actors: Actors,
        phase: Callable[[], str],
    ) -> None:
        given, metrics = settings.metrics, rooms.metrics
        self._census = CensusTaker(
            DatabaseStats(rooms.database, lease_seconds=settings.worker.stale_after_seconds),
            metrics.database,
            census_seconds=given.census_seconds,
        )
        _read_process(metrics.process, rooms.database, actors)
        metrics.streams.open_streams.callback = lambda: {
            ("chat",): rooms.hub.subscriber_count,
            ("list",): rooms.list_hub.subscriber_count,
        }
        if roster is not None:
            _read_roster(metrics.leases, roster, stalled_seconds=given.stalled_seconds)
        panel = Panel(
            rooms,
            worker_id=worker_id,
            roster=roster,
            actors=actors,
            census=self._census,
            loop_watch=loop_watch,
            phase=phase,
        )
        self.operations = Operations(
            metrics=PrometheusCollector(metrics).render,
            status=panel.status,
            public=settings.auth.mode == "none",
            public_metrics=given.open,
        )

    def specs(self) -> Sequence[ChildSpec]:
        return [
            ChildSpec(name="census", start=self._census.run),
        ]


def _read_process(metrics: ProcessMetrics, database: Database, actors: Actors) -> None:
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


def _read_roster(metrics: LeaseMetrics, roster: ChatTaskPool, *, stalled_seconds: float) -> None:
    """Have the metrics of what is owned read off the roster."""
    metrics.leased_chats.callback = lambda: len(roster.leases)
    metrics.free_slots.callback = lambda: max(roster.free_slots, 0)
    metrics.lease_age.callback = lambda: oldest_renewal_age(roster.leases)
    metrics.without_progress.callback = lambda: count_stalled(roster.leases, stalled_seconds)
    metrics.progress_age.callback = lambda: max(
        map(seconds_since_progress, roster.leases), default=0.0
    )
