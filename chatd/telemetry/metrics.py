"""All metrics, by who counts in them. ``deploy/metrics.md`` says the same; a test compares the two."""

from collections.abc import Iterator
from typing import Final

from chatd import __version__
from chatd.domain.chat import Status
from chatd.domain.endings import Fate, Outcome, Reaped, StreamEnd
from chatd.domain.failure import FailureKind
from chatd.domain.moves import OWNER_MOVES, Move
from chatd.telemetry.instruments import Counter, Histogram, Instrument, Reading

PHASES: Final = ("line", "first_part", "streaming", "client", "storing", "backoff")
"""Where a turn's time goes: pending; until the model says something; while it speaks; while the client
runs its tools; while the history is read and steps are stored; between two tries."""

TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
FOLLOWED: Final = ("chat", "list")
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_KINDS: Final = tuple(FailureKind)
_FENCED: Final = (*sorted(OWNER_MOVES), Move.REAP_INTERRUPT)


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
        self.wake = Histogram(
            "chatd_wake_seconds", "From the hint that a chat is pending to the claim it woke."
        )
        self.ended = Counter(
            "chatd_turns_total", "Turns by how they ended.", outcome=tuple(Outcome)
        )
        self.seconds = Histogram(
            "chatd_turn_seconds", "How long a turn was in hand, from claim to end."
        )
        self.phases = Counter(
            "chatd_turn_phase_seconds_total", "Where the time of turns went.", phase=PHASES
        )
        self.first_part = Histogram(
            "chatd_first_part_seconds",
            "From the start of a turn to the first part of its answer.",
            model=None,
        )
        self.steps = Counter("chatd_steps_total", "Steps of turns.")
        self.calls = Counter("chatd_provider_calls_total", "Calls of a model.", model=None)
        self.errors = Counter(
            "chatd_provider_errors_total",
            "Calls of a model that failed, tried again or not.",
            model=None,
            kind=_KINDS,
        )
        self.retries = Counter(
            "chatd_retries_total", "Failed calls that are tried again.", kind=_KINDS
        )
        self.failures = Counter(
            "chatd_turn_failures_total", "Turns that ended in last_error.", kind=_KINDS
        )
        self.tokens = Counter(
            "chatd_tokens_total", "Tokens, as providers count them.", model=None, kind=TOKENS
        )
        self.tools = Counter(
            "chatd_tool_calls_total",
            "Calls of tools, by who runs them; nobody: the model made the tool up.",
            runs_at=("client", "nobody"),
        )
        self.parts = Counter("chatd_parts_streamed_total", "Parts that models streamed.")


class LeaseMetrics:
    """Whether what is owned is kept, and what becomes of it otherwise."""

    def __init__(self) -> None:
        self.renewal = Histogram(
            "chatd_heartbeat_seconds", "How long the statement takes that renews all chats in hand."
        )
        self.lag = Histogram(
            "chatd_heartbeat_lag_seconds", "How much later than planned a heartbeat ended."
        )
        self.lost = Counter(
            "chatd_chats_lost_total", "Chats in hand that were lost, by why.", why=tuple(Fate)
        )
        self.fenced = Counter(
            "chatd_fence_rejections_total",
            "Writes of a worker that changed nothing, because it no longer has the chat.",
            move=_FENCED,
        )
        self.reaped = Counter(
            "chatd_reaps_total",
            "Chats that were taken from workers that are gone.",
            reason=tuple(Reaped),
        )
        self.given_up = Counter(
            "chatd_chats_given_up_total", "Chats that were reaped too often without progress."
        )
        self.expired = Counter(
            "chatd_actions_expired_total", "Chats whose client took too long to run its tools."
        )
        self.in_hand = Reading("chatd_chats_in_hand", "Chats that this process owns.")
        self.room = Reading("chatd_room", "How many more chats this process would take.")
        self.age = Reading(
            "chatd_lease_age_seconds",
            "How long ago the chat in hand was renewed that waits longest.",
        )
        self.stalled = Reading(
            "chatd_chats_without_progress",
            "Chats in hand that made no progress for metrics.stalled_seconds.",
        )
        self.stillness = Reading(
            "chatd_progress_age_seconds",
            "How long ago the chat in hand made progress that has made none for longest.",
        )


class StreamMetrics:
    """What readers get."""

    def __init__(self) -> None:
        self.open = Reading(
            "chatd_streams_open", "Open streams, of one chat or of all of a caller.", of=FOLLOWED
        )
        self.opened = Counter("chatd_streams_opened_total", "Streams that were opened.")
        self.ended = Counter(
            "chatd_streams_ended_total", "Streams that ended, by why.", why=tuple(StreamEnd)
        )
        self.flushed = Counter(
            "chatd_parts_flushed_total", "Parts that were stored for viewers elsewhere."
        )
        self.flush_delay = Histogram(
            "chatd_flush_delay_seconds", "From a part that is streamed to the flush that stores it."
        )


class HintMetrics:
    """Whether processes hear of each other."""

    def __init__(self) -> None:
        self.sent = Counter("chatd_hints_sent_total", "Hints told to other processes.")
        self.received = Counter("chatd_hints_received_total", "Hints of other processes.")
        self.missed = Counter(
            "chatd_hints_missed_total",
            "What polling found and no hint had told of: pending chats, news of watched chats.",
            of=("pending", "watched"),
        )


class HttpMetrics:
    """What callers ask, and how they are answered."""

    def __init__(self) -> None:
        self.requests = Counter(
            "chatd_http_requests_total",
            "Requests that were answered; route is its template.",
            method=METHODS,
            route=None,
            status=None,
        )
        self.seconds = Histogram(
            "chatd_http_request_seconds",
            "From a request to the start of its answer.",
            bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            method=METHODS,
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
        self.info = Reading("chatd_info", "Always 1; the label says the version.", version=None)
        self.info.read = lambda: {(__version__,): 1.0}
        self.up = Reading(
            "chatd_actor_up", "Whether an actor that has not ended is running.", actor=None
        )
        self.restarts = Reading(
            "chatd_actor_restarts_total",
            "How often an actor was started again.",
            kind="counter",
            actor=None,
        )
        self.budget = Reading(
            "chatd_restart_budget_left",
            "Restarts that are left before the process gives up.",
            actor=None,
        )
        self.loop_lag = Histogram(
            "chatd_loop_lag_seconds", "How much later than planned the event loop came round."
        )
        self.pool_size = Reading("chatd_pool_size", "The most pooled connections.")
        self.pool_in_use = Reading("chatd_pool_in_use", "Pooled connections in use.")
        self.pool_waiting = Reading("chatd_pool_waiting", "Statements that wait for a connection.")
        self.pool_waited = Reading(
            "chatd_pool_wait_seconds_total",
            "How long statements have waited for a connection.",
            kind="counter",
        )
        self.statements = Reading(
            "chatd_statements_total", "Statements sent through the pool.", kind="counter"
        )


class CensusMetrics:
    """What the database has, of all processes; it is asked every ``metrics.census_seconds``."""

    def __init__(self) -> None:
        self.reachable = Reading(
            "chatd_database_reachable", "Whether the last census was answered."
        )
        self.chats = Reading(
            "chatd_chats",
            "Chats by status. Of a large table, waiting is the planner's estimate.",
            status=tuple(Status),
        )
        self.oldest = Reading(
            "chatd_oldest_pending_seconds", "How long the first chat in line has been there."
        )
        self.workers = Reading("chatd_workers", "Workers that renew what they own.")


class Metrics:
    """One for each daemon."""

    def __init__(self) -> None:
        self.turns = TurnMetrics()
        self.leases = LeaseMetrics()
        self.streams = StreamMetrics()
        self.hints = HintMetrics()
        self.http = HttpMetrics()
        self.process = ProcessMetrics()
        self.census = CensusMetrics()

    def __iter__(self) -> Iterator[Instrument]:
        for group in vars(self).values():
            yield from vars(group).values()
