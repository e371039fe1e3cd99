"""Metrics of turns, a subject of ``metrics``."""

from typing import Final

from chatd.domain.answer import Decision
from chatd.domain.chat import Usage
from chatd.domain.failure import FailureKind
from chatd.domain.outcomes import (
    CallPurpose,
    CompactionOutcome,
    TitleOutcome,
    ToolOutcomeKind,
    TurnOutcome,
)
from chatd.domain.tool_call import Executor
from chatd.telemetry.instruments import Counter, Histogram

PHASES: Final = (
    "pending",
    "first_part",
    "streaming",
    "client",
    "storing",
    "backoff",
    "compaction",
)
"""Phases of a turn's time: pending before the claim; until the first part; while parts stream; while the
client runs its tools; while history is read and steps are stored; between two attempts; while the chat is
compacted."""

TOKEN_KINDS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
_FAILURE_KINDS: Final = tuple(FailureKind)
_PURPOSES: Final = tuple(CallPurpose)


class TurnMetrics:
    """Outcomes and costs of turns."""

    def __init__(self) -> None:
        self.claims = Counter("chatd_claims_total", "Chats claimed by this process.")
        self.claims_on_send = Counter(
            "chatd_claims_on_send_total",
            "Chats claimed by the statement that made them pending. They count as claims, too.",
        )
        self.takeovers = Counter(
            "chatd_takeovers_total", "Claimed chats whose previous worker did not finish the turn."
        )
        self.claim_wait = Histogram(
            "chatd_claim_wait_seconds", "Time a chat was pending before this process claimed it."
        )
        self.notification_to_claim = Histogram(
            "chatd_notification_to_claim_seconds",
            "Time from the notification of a pending chat to the claim that it triggered.",
        )
        self.ended = Counter(
            "chatd_turns_total", "Ended turns, by outcome.", outcome=tuple(TurnOutcome)
        )
        self.duration = Histogram("chatd_turn_seconds", "Duration of turns, from claim to end.")
        self.phase_seconds = Counter(
            "chatd_turn_phase_seconds_total", "Time spent in turns, by phase.", phase=PHASES
        )
        self.first_part = Histogram(
            "chatd_first_part_seconds",
            "Time from the start of a turn to the first part of its answer.",
            model=None,
        )
        self.steps = Counter("chatd_steps_total", "Committed steps of turns.")
        self.provider_calls = Counter(
            "chatd_provider_calls_total", "Calls to a model.", model=None, purpose=_PURPOSES
        )
        self.provider_errors = Counter(
            "chatd_provider_errors_total",
            "Calls to a model that failed, whether retried or not.",
            model=None,
            purpose=_PURPOSES,
            kind=_FAILURE_KINDS,
        )
        self.retries = Counter(
            "chatd_retries_total", "Failed calls that are retried.", kind=_FAILURE_KINDS
        )
        self.failures = Counter(
            "chatd_turn_failures_total",
            "Turns that ended with last_error set.",
            kind=_FAILURE_KINDS,
        )
        self.tokens = Counter(
            "chatd_tokens_total",
            "Tokens, as counted by the providers.",
            model=None,
            purpose=_PURPOSES,
            kind=TOKEN_KINDS,
        )
        self.titles = Counter(
            "chatd_titles_total",
            "Titles that models were to write, by outcome.",
            outcome=tuple(TitleOutcome),
        )
        self.compactions = Counter(
            "chatd_compactions_total",
            "Compactions of chats, by outcome. One that fails counts each refused summary, too.",
            outcome=tuple(CompactionOutcome),
        )
        self.tool_calls = Counter(
            "chatd_tool_calls_total",
            "Tool calls, by who runs the tool and what came of the call. Those of the client are asked.",
            executor=tuple(Executor),
            outcome=tuple(ToolOutcomeKind),
        )
        self.answers = Counter(
            "chatd_action_answers_total",
            "Answers of people and clients to tool calls that chats waited for, by decision.",
            decision=tuple(each for each in Decision if each is not Decision.EXPIRED),
        )
        self.tool_seconds = Histogram(
            "chatd_tool_seconds", "Duration of calls of the server's tools.", tool=None
        )
        self.agents_started = Counter(
            "chatd_agents_started_total", "Chats that models started by a tool call."
        )
        self.parts_streamed = Counter("chatd_parts_streamed_total", "Parts streamed by models.")

    def add_tokens(self, model: str, purpose: CallPurpose, usage: Usage) -> None:
        """Count the tokens of one call."""
        for kind, tokens in usage.by_kind().items():
            if tokens:
                self.tokens.add(model, purpose, kind.removesuffix("_tokens"), amount=tokens)
