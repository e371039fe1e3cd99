"""Statistics of one turn: the fields of its canonical log line, its span and its metrics.

The log line costs some 20 us a turn, and the metrics 5. The benchmark ``turns`` watches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from opentelemetry.trace import Span

from chatd.domain.chat import Chat, Usage
from chatd.domain.failure import Failure
from chatd.domain.message import Message, Role
from chatd.domain.outcomes import TurnOutcome
from chatd.telemetry import tracing
from chatd.telemetry.instruments import OTHER
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.worker.clock import loop_time
from chatd.worker.model_call import ModelCall

_log = structlog.get_logger()


@dataclass(slots=True)
class TurnStats:
    """Cost and outcome of one turn. Filled while it runs, reported once it has ended."""

    chat: Chat
    started_at: float = field(default_factory=loop_time)
    outcome: TurnOutcome = TurnOutcome.ABORTED
    model: str | None = None
    steps: int = 0
    attempts: int = 0
    parts: int = 0
    first_part_seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    failure: Failure | None = None
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds spent per phase. See ``telemetry.turn_metrics.PHASES``."""

    def add_time(self, phase: str, seconds: float) -> None:
        """Add ``seconds`` to a phase."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def record_client_tools(self, history: Sequence[Message]) -> None:
        """Record the time that the client took to run its tools, if the turn goes on with their results."""
        seconds = 0.0
        match history:
            case [*_, calls, Message(role=Role.TOOL) as results]:
                tracing.record_client_tools(calls.created_at, results.created_at)
                seconds = max((results.created_at - calls.created_at).total_seconds(), 0.0)
        self.add_time("client", seconds)

    def record_call(self, call: ModelCall) -> None:
        """Record the duration and the parts of a model call that has ended."""
        now = loop_time()
        first_part_at = now if call.first_part_at is None else call.first_part_at
        self.add_time("first_part", first_part_at - call.started_at)
        self.add_time("streaming", now - first_part_at)
        self.attempts += 1
        self.parts += len(call.preview.parts)
        if self.first_part_seconds is None and call.first_part_at is not None:
            self.first_part_seconds = call.first_part_at - self.started_at

    def add_usage(self, usage: Usage) -> None:
        """Add the tokens of one response."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens

    def record_metrics(self, metrics: TurnMetrics) -> None:
        """Add this turn to the metrics."""
        metrics.ended.add(self.outcome)
        metrics.duration.observe(loop_time() - self.started_at)
        metrics.steps.add(amount=self.steps)
        metrics.parts_streamed.add(amount=self.parts)
        for phase, seconds in self.phases.items():
            metrics.phase_seconds.add(phase, amount=seconds)
        if self.first_part_seconds is not None:
            metrics.first_part.observe(self.first_part_seconds, self.model or OTHER)
        if self.failure is not None:
            metrics.failures.add(self.failure.kind)

    def record_span(self, span: Span) -> None:
        """Set the outcome on the span of the turn."""
        kind = self.failure.kind.value if self.failure else None
        tracing.end_turn(span, outcome=self.outcome, steps=self.steps, error_kind=kind)

    def log(self) -> None:
        """Log the one canonical line of the turn. It holds no content of the chat."""
        _log.info(
            "chat.turn",
            outcome=self.outcome.value,
            model=self.model,
            steps=self.steps,
            attempts=self.attempts,
            parts=self.parts,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            first_part_seconds=_rounded(self.first_part_seconds),
            seconds=_rounded(loop_time() - self.started_at),
            error_kind=self.failure.kind.value if self.failure else None,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
