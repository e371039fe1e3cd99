"""All metrics, by who counts in them. ``docs/operations/metrics.md`` is generated from it."""

from collections.abc import Iterator
from typing import Final

from chatd import __version__
from chatd.domain.chat import Status
from chatd.domain.failure import FailureKind
from chatd.domain.outcomes import LossReason, ReapReason, StreamEndReason, TurnOutcome
from chatd.domain.transitions import WORKER_TRANSITIONS, Transition
from chatd.telemetry.instruments import Counter, Histogram, Instrument, ObservableMetric

PHASES: Final = ("line", "first_part", "streaming", "client", "storing", "backoff")
"""Where a turn's time goes: pending; until the model says something; while it speaks; while the client
runs its tools; while the history is read and steps are stored; between two tries."""

TOKEN_KINDS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
STREAM_KINDS: Final = ("chat", "list")
HTTP_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_FAILURE_KINDS: Final = tuple(FailureKind)
_FENCED_TRANSITIONS: Final = (*sorted(WORKER_TRANSITIONS), Transition.REAP_INTERRUPT)


class TurnMetrics:
    """What turns cost, and how they end."""

    def __init__(self) -> None:
        self.claims = Counter("chatd_claims_total", "Chats that this process claimed.")
        self.takeovers = Counter(
            "chatd_takeovers_total", "Claims of chats that another worker had not finished."
        )
        self.claim_wait = Histogram(
            "chatd_claim_wait_seconds", "How long a chat was pending before it was claimed."
        )
        self.notification_to_claim = Histogram(
            "chatd_notification_to_claim_seconds",
            "From the hint that a chat is pending to the claim it woke.",
        )
        self.ended = Counter(
            "chatd_turns_total", "Turns by how they ended.", outcome=tuple(TurnOutcome)
        )
        self.duration = Histogram(
            "chatd_turn_seconds", "How long a turn was in hand, from claim to end."
        )
        self.phase_seconds = Counter(
            "chatd_turn_phase_seconds_total", "Where the time of turns went.", phase=PHASES
        )
        self.first_part = Histogram(
            "chatd_first_part_seconds",
            "From the start of a turn to the first part of its answer.",
            model=None,
        )
        self.steps = Counter("chatd_steps_total", "Steps of turns.")
        self.provider_calls = Counter("chatd_provider_calls_total", "Calls of a model.", model=None)
        self.provider_errors = Counter(
            "chatd_provider_errors_total",
            "Calls of a model that failed, tried again or not.",
            model=None,
            kind=_FAILURE_KINDS,
        )
        self.retries = Counter(
            "chatd_retries_total", "Failed calls that are tried again.", kind=_FAILURE_KINDS
        )
        self.failures = Counter(
            "chatd_turn_failures_total", "Turns that ended in last_error.", kind=_FAILURE_KINDS
        )
        self.tokens = Counter(
            "chatd_tokens_total", "Tokens, as providers count them.", model=None, kind=TOKEN_KINDS
        )
        self.tool_calls = Counter(
            "chatd_tool_calls_total",
            "Calls of tools, by who runs them; nobody: the model made the tool up.",
            runs_at=("client", "nobody"),
        )
        self.parts_streamed = Counter("chatd_parts_streamed_total", "Parts that models streamed.")


class LeaseMetrics:
    """Whether what is owned is kept, and what becomes of it otherwise."""

    def __init__(self) -> None:
        self.heartbeat_duration = Histogram(
            "chatd_heartbeat_seconds", "How long the statement takes that renews all chats in hand."
        )
        self.heartbeat_lag = Histogram(
            "chatd_heartbeat_lag_seconds", "How much later than planned a heartbeat ended."
        )
        self.leases_lost = Counter(
            "chatd_leases_lost_total",
            "Chats in hand that were lost, by why.",
            why=tuple(LossReason),
        )
        self.fence_rejections = Counter(
            "chatd_fence_rejections_total",
            "Writes of a worker that changed nothing, because it no longer has the chat.",
            move=_FENCED_TRANSITIONS,
        )
        self.reaps = Counter(
            "chatd_reaps_total",
            "Chats that were taken from workers that are gone.",
            reason=tuple(ReapReason),
        )
        self.crash_loops = Counter(
            "chatd_crash_loops_total", "Chats that were reaped too often without progress."
        )
        self.client_tool_timeouts = Counter(
            "chatd_client_tool_timeouts_total", "Chats whose client took too long to run its tools."
        )
        self.leased_chats = ObservableMetric("chatd_leased_chats", "Chats that this process owns.")
        self.free_slots = ObservableMetric(
            "chatd_free_slots", "How many more chats this process would take."
        )
        self.lease_age = ObservableMetric(
            "chatd_lease_age_seconds",
            "How long ago the chat in hand was renewed that waits longest.",
        )
        self.without_progress = ObservableMetric(
            "chatd_chats_without_progress",
            "Chats in hand that made no progress for metrics.stalled_after_seconds.",
        )
        self.progress_age = ObservableMetric(
            "chatd_progress_age_seconds",
            "How long ago the chat in hand made progress that has made none for longest.",
        )


class StreamMetrics:
    """What readers get."""

    def __init__(self) -> None:
        self.open_streams = ObservableMetric(
            "chatd_streams_open",
            "Open streams, of one chat or of all of a caller.",
            of=STREAM_KINDS,
        )
        self.opened = Counter("chatd_streams_opened_total", "Streams that were opened.")
        self.ended = Counter(
            "chatd_streams_ended_total", "Streams that ended, by why.", why=tuple(StreamEndReason)
        )
        self.parts_flushed = Counter(
            "chatd_parts_flushed_total", "Parts that were stored for viewers elsewhere."
        )
        self.flush_delay = Histogram(
            "chatd_flush_delay_seconds", "From a part that is streamed to the flush that stores it."
        )


class NotificationMetrics:
    """Whether processes hear of each other."""

    def __init__(self) -> None:
        self.sent = Counter("chatd_notifications_sent_total", "Hints told to other processes.")
        self.received = Counter("chatd_notifications_received_total", "Hints of other processes.")
        self.missed = Counter(
            "chatd_notifications_missed_total",
            "What polling found and no hint had told of: pending chats, news of watched chats.",
            of=("pending", "watched"),
        )


class HttpMetrics:
    """What callers ask, and how they are answered."""

    def __init__(self) -> None:
        self.requests = Counter(
            "chatd_http_requests_total",
            "Requests that were answered; route is its template.",
            method=HTTP_METHODS,
            route=None,
            status=None,
        )
        self.duration = Histogram(
            "chatd_http_request_seconds",
            "From a request to the start of its answer.",
            bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            method=HTTP_METHODS,
            route=None,
        )
        self.problems = Counter(
            "chatd_http_problems_total",
            "Answers that are problems, by their code; limits that were hit are among them.",
            code=None,
        )
        self.replays = Counter(
            "chatd_idempotent_replays_total",
            "Requests with an Idempotency-Key that had been done before.",
        )


class ProcessMetrics:
    """How the process and its database are."""

    def __init__(self) -> None:
        self.info = ObservableMetric(
            "chatd_info", "Always 1; the label says the version.", version=None
        )
        self.info.callback = lambda: {(__version__,): 1.0}
        self.actor_up = ObservableMetric(
            "chatd_actor_up", "Whether an actor that has not ended is running.", actor=None
        )
        self.actor_restarts = ObservableMetric(
            "chatd_actor_restarts_total",
            "How often an actor was started again.",
            kind="counter",
            actor=None,
        )
        self.restart_budget_left = ObservableMetric(
            "chatd_restart_budget_left",
            "Restarts that are left before the process gives up.",
            actor=None,
        )
        self.loop_lag = Histogram(
            "chatd_loop_lag_seconds", "How much later than planned the event loop came round."
        )
        self.pool_size = ObservableMetric("chatd_pool_size", "The most pooled connections.")
        self.pool_in_use = ObservableMetric("chatd_pool_in_use", "Pooled connections in use.")
        self.pool_waiting = ObservableMetric(
            "chatd_pool_waiting", "Statements that wait for a connection."
        )
        self.pool_wait_seconds = ObservableMetric(
            "chatd_pool_wait_seconds_total",
            "How long statements have waited for a connection.",
            kind="counter",
        )
        self.statements = ObservableMetric(
            "chatd_statements_total", "Statements sent through the pool.", kind="counter"
        )


class DatabaseMetrics:
    """What the database has, of all processes; it is asked every ``metrics.refresh_interval_seconds``."""

    def __init__(self) -> None:
        self.reachable = ObservableMetric(
            "chatd_database_reachable", "Whether the last census was answered."
        )
        self.chats = ObservableMetric(
            "chatd_chats",
            "Chats by status. Of a large table, waiting is the planner's estimate.",
            status=tuple(Status),
        )
        self.oldest_pending = ObservableMetric(
            "chatd_oldest_pending_seconds", "How long the first chat in line has been there."
        )
        self.workers = ObservableMetric("chatd_workers", "Workers that renew what they own.")


class Metrics:
    """One for each daemon."""

    def __init__(self) -> None:
        self.turns = TurnMetrics()
        self.leases = LeaseMetrics()
        self.streams = StreamMetrics()
        self.notifications = NotificationMetrics()
        self.http = HttpMetrics()
        self.process = ProcessMetrics()
        self.database = DatabaseMetrics()

    def __iter__(self) -> Iterator[Instrument]:
        for group in vars(self).values():
            yield from vars(group).values()
