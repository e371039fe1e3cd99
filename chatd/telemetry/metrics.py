"""Table of all metrics, grouped by subject. ``docs/operations/metrics.md`` is generated from it."""

from collections.abc import Iterator
from typing import Final

from chatd import __version__
from chatd.domain.chat import Status
from chatd.domain.outcomes import (
    LossReason,
    ReapReason,
    StreamEndReason,
)
from chatd.domain.transitions import WORKER_TRANSITIONS, Transition
from chatd.telemetry.instruments import Counter, Histogram, Instrument, ObservableMetric
from chatd.telemetry.turn_metrics import TurnMetrics

STREAM_KINDS: Final = ("chat", "list")
HTTP_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_FENCED_TRANSITIONS: Final = (*sorted(WORKER_TRANSITIONS), Transition.REAP_INTERRUPT)


class LeaseMetrics:
    """Renewal and loss of leases."""

    def __init__(self) -> None:
        self.heartbeat_duration = Histogram(
            "chatd_heartbeat_seconds",
            "Duration of the statement that renews all leases of this process.",
        )
        self.heartbeat_lag = Histogram(
            "chatd_heartbeat_lag_seconds", "Delay of the end of a heartbeat after its planned time."
        )
        self.leases_lost = Counter(
            "chatd_leases_lost_total",
            "Leases that this process lost, by reason.",
            reason=tuple(LossReason),
        )
        self.fence_rejections = Counter(
            "chatd_fence_rejections_total",
            "Writes rejected because the worker no longer holds the lease, by transition.",
            transition=_FENCED_TRANSITIONS,
        )
        self.reaps = Counter(
            "chatd_reaps_total",
            "Chats reclaimed from dead workers, by reason.",
            reason=tuple(ReapReason),
        )
        self.abandoned_tasks = Counter(
            "chatd_abandoned_tasks_total",
            "Tasks that did not end when they were cancelled, and lost their chats.",
        )
        self.lock_proved = ObservableMetric(
            "chatd_worker_lock_proved",
            "1 if the lock of this worker is evidence: it sits in a session of its own.",
        )
        self.crash_loops = Counter(
            "chatd_crash_loops_total",
            "Chats that failed because they lost too many workers without progress.",
        )
        self.client_tool_timeouts = Counter(
            "chatd_client_tool_timeouts_total",
            "Chats with calls that the client, or a person, did not answer before their deadline.",
        )
        self.leased_chats = ObservableMetric("chatd_leased_chats", "Chats leased by this process.")
        self.free_slots = ObservableMetric(
            "chatd_free_slots", "Number of further chats that this process would claim."
        )
        self.lease_age = ObservableMetric(
            "chatd_lease_age_seconds",
            "Age of the oldest lease renewal among leased chats.",
        )
        self.without_progress = ObservableMetric(
            "chatd_chats_without_progress",
            "Leased chats without progress for metrics.stalled_after_seconds.",
        )
        self.progress_age = ObservableMetric(
            "chatd_progress_age_seconds",
            "Longest time since progress among leased chats.",
        )


class StreamMetrics:
    """Event streams and their subscribers."""

    def __init__(self) -> None:
        self.open_streams = ObservableMetric(
            "chatd_streams_open",
            "Open streams, of one chat or of a list of chats.",
            kind=STREAM_KINDS,
        )
        self.opened = Counter("chatd_streams_opened_total", "Opened streams.")
        self.ended = Counter(
            "chatd_streams_ended_total", "Ended streams, by reason.", reason=tuple(StreamEndReason)
        )
        self.parts_flushed = Counter(
            "chatd_parts_flushed_total", "Parts stored for subscribers of other processes."
        )
        self.flush_delay = Histogram(
            "chatd_flush_delay_seconds",
            "Time from the first unstored part to the flush that stores it.",
        )


class NotificationMetrics:
    """Notifications between processes."""

    def __init__(self) -> None:
        self.sent = Counter(
            "chatd_notifications_sent_total", "Notifications sent to other processes."
        )
        self.received = Counter(
            "chatd_notifications_received_total", "Notifications received from other processes."
        )
        self.missed = Counter(
            "chatd_notifications_missed_total",
            "Changes found by polling that no notification had announced: "
            "pending chats, changes of subscribed chats.",
            kind=("pending", "subscribed"),
        )


class SearchMetrics:
    """Index of the words of messages."""

    def __init__(self) -> None:
        self.messages = Counter(
            "chatd_search_indexed_messages_total", "Messages that this process has indexed."
        )
        self.waiting_chats = ObservableMetric(
            "chatd_search_waiting_chats",
            "Chats with messages that this process stored and nobody has indexed yet.",
        )
        self.lag = ObservableMetric(
            "chatd_search_lag_seconds",
            "Time for which the first of these chats has waited.",
        )


CONTAINED_ACTORS: Final = (
    *("activity", "chat list", "chat poller", "claimer", "flusher", "list poller", "notifier"),
    *("pending sweep", "reaper", "search indexer", "waker"),
)
"""Actors and reads that work on batches of many chats."""


class ContainmentMetrics:
    """Chats whose data failed in a batch with others."""

    def __init__(self) -> None:
        self.cuts = Counter(
            "chatd_cuts_total",
            "Chats or lists that an actor left out of its batches, because their data made one fail.",
            actor=CONTAINED_ACTORS,
        )


class HttpMetrics:
    """Requests and responses."""

    def __init__(self) -> None:
        self.requests = Counter(
            "chatd_http_requests_total",
            "Answered requests. The route is the template of the path.",
            method=HTTP_METHODS,
            route=None,
            status=None,
        )
        self.duration = Histogram(
            "chatd_http_request_seconds",
            "Time from a request to the start of its response.",
            bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            method=HTTP_METHODS,
            route=None,
        )
        self.problems = Counter(
            "chatd_http_problems_total",
            "Problem responses, by code. Rejections by a limit are among them.",
            code=None,
        )
        self.replays = Counter(
            "chatd_idempotent_replays_total",
            "Repeated requests with an Idempotency-Key, answered without being executed again.",
        )


class ProcessMetrics:
    """Actors, event loop and connection pool of the process."""

    def __init__(self) -> None:
        self.info = ObservableMetric(
            "chatd_info", "Always 1. The label holds the version.", version=None
        )
        self.info.callback = lambda: {(__version__,): 1.0}
        self.actor_up = ObservableMetric(
            "chatd_actor_up",
            "1 if the actor is running, 0 if it is not. Actors that have ended are not listed.",
            actor=None,
        )
        self.actor_restarts = ObservableMetric(
            "chatd_actor_restarts_total",
            "Restarts of an actor.",
            metric_kind="counter",
            actor=None,
        )
        self.restart_budget_left = ObservableMetric(
            "chatd_restart_budget_left",
            "Restarts left before the process stops with an error.",
            actor=None,
        )
        self.loop_lag = Histogram(
            "chatd_loop_lag_seconds", "Delay of the event loop behind its schedule."
        )
        self.pool_size = ObservableMetric(
            "chatd_pool_size", "Maximum number of pooled connections."
        )
        self.pool_in_use = ObservableMetric("chatd_pool_in_use", "Pooled connections in use.")
        self.pool_waiting = ObservableMetric(
            "chatd_pool_waiting", "Statements waiting for a connection."
        )
        self.pool_wait_seconds = ObservableMetric(
            "chatd_pool_wait_seconds_total",
            "Total time that statements waited for a connection.",
            metric_kind="counter",
        )
        self.statements = ObservableMetric(
            "chatd_statements_total", "Statements sent through the pool.", metric_kind="counter"
        )


PENDING_STATES: Final = ("due", "deferred", "held")
"""A pending chat waits for a worker, for its next attempt, or for other chats of its owner."""


class DatabaseMetrics:
    """Counts over the whole database, refreshed every ``metrics.refresh_interval_seconds``."""

    def __init__(self) -> None:
        self.reachable = ObservableMetric(
            "chatd_database_reachable",
            "1 if the database answered the last query for its stats, else 0.",
        )
        self.chats = ObservableMetric(
            "chatd_chats",
            "Chats, by status. In a large table, waiting is the planner's estimate.",
            status=tuple(Status),
        )
        self.pending_chats = ObservableMetric(
            "chatd_pending_chats",
            "Pending chats: due now, deferred until their next attempt, "
            "or held by limits.max_running_per_owner.",
            state=PENDING_STATES,
        )
        self.oldest_pending = ObservableMetric(
            "chatd_oldest_pending_seconds", "Time that the oldest pending chat has been waiting."
        )
        self.workers = ObservableMetric("chatd_workers", "Workers with a current heartbeat.")


class Metrics:
    """All metrics of one daemon."""

    def __init__(self) -> None:
        self.turns = TurnMetrics()
        self.leases = LeaseMetrics()
        self.streams = StreamMetrics()
        self.notifications = NotificationMetrics()
        self.search = SearchMetrics()
        self.containment = ContainmentMetrics()
        self.http = HttpMetrics()
        self.process = ProcessMetrics()
        self.database = DatabaseMetrics()

    def __iter__(self) -> Iterator[Instrument]:
        for group in vars(self).values():
            yield from vars(group).values()
