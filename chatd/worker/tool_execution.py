"""One tool call that runs in a task of its own.

The chat's task never waits for it without a bound: whatever a tool does when it is cancelled, the chat goes
on. The task belongs to the pool of chat tasks, which ends with it.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid5

import anyio
import structlog

from chatd.domain.errors import LeaseLost
from chatd.domain.outcomes import ToolOutcomeKind
from chatd.domain.question import MAX_QUESTIONS
from chatd.domain.tool_call import Executor, InputCall, ToolCall, ToolResult
from chatd.domain.tool_call_errors import (
    asks_too_often,
    is_outcome_unknown,
    too_slow,
    tool_panicked,
)
from chatd.telemetry import tracing
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.tools.output import OutputLimits, cap
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import GivenInput, InputNeeded, ToolOutcome
from chatd.worker.lease import Lease
from chatd.worker.tool_progress import CallProgress

_log = structlog.get_logger()


class ToolExecution:
    """One start of a tool call. ``result`` is None while it runs, and after it was cancelled.

    One that ``reattaches`` asks for the result of an earlier start, by another worker.
    A tool that needs input ends with a question, ``asks``, instead. ``on_end`` is called when it has ended.
    """

    def __init__(
        self,
        call: ToolCall,
        args: str,
        *,
        reattaches: bool,
        tools: ToolRegistry,
        lease: Lease,
        output: OutputLimits,
        metrics: TurnMetrics,
        progress: CallProgress,
        on_end: Callable[["ToolExecution"], None],
    ) -> None:
        self.call = call
        self.seconds = tools.timeout_seconds(call.name)
        self.stage = lease.progress.stage(f"tool {call.name}", self.seconds)
        self.result: ToolResult | None = None
        self.asks: InputCall | None = None
        """The question of a tool that needs input. Then there is no result."""
        self.lost = False
        """The lease was over before the tool could start, so it did not."""
        self._args = args
        self._reattaches = reattaches
        self._tools = tools
        self._lease = lease
        self._output = output
        self._metrics = metrics
        self._progress = progress
        self._on_end = on_end
        self._outcome: ToolOutcomeKind | None = None
        self._scope = anyio.CancelScope()
        self._is_cancelled = False

    @property
    def key(self) -> UUID:
        """The key of the call: the same for each start of it, and for no other call."""
        return uuid5(self._lease.chat.id, f"{self.call.message_id}/{self.call.id}")

    @property
    def has_ended(self) -> bool:
        """True once there is a result or a question."""
        return self.result is not None or self.asks is not None

    @property
    def overdue_at(self) -> float:
        """The moment at which the time of the call is over, on the clock of the event loop."""
        return self.stage.started_at + self.seconds

    @property
    def output(self) -> str:
        """The end of what the tool has put out so far, as far as it reported."""
        limits = OutputLimits(shown_bytes=self._output.shown_bytes)
        return cap(self._progress.output, limits)[0]

    def cancel(self) -> None:
        """Cancel the tool. It may take as long as it likes to end."""
        self._is_cancelled = True
        self._progress.end()
        self._scope.cancel()

    def give_up(self) -> None:
        """Take the call for too slow, whether its tool ends or not."""
        if not self.has_ended:
            self._end(too_slow(self.seconds, self.output), ToolOutcomeKind.TIMEOUT)
        self.cancel()

    async def run(self) -> None:
        """Run the tool. This raises nothing: a tool that does is logged, and its result says so."""
        with tracing.tool_span(self._lease.chat, tool=self.call.name, call_id=self.call.id) as span:
            try:
                with self._scope:
                    self._scope.deadline = self.overdue_at
                    await self._lease.wait_until_held()
                    self._lease.ensure_valid()
                    outcome = await self._tools.call(
                        self.call.name,
                        self._args,
                        key=self.key,
                        output=self._output,
                        on_progress=self._progress.report,
                        given=_given_input(self.call),
                        reattaches=self._reattaches,
                    )
                    self._end_with(outcome)
                if self._scope.cancelled_caught and not self._is_cancelled:
                    self._end(too_slow(self.seconds, self.output), ToolOutcomeKind.TIMEOUT)
            except LeaseLost:
                self.lost = True
            except Exception as error:  # noqa: BLE001 - a bug of the tool is a result, and no failed turn
                _log.error("tool.panicked", tool=self.call.name, exc_info=error)
                self._end(tool_panicked(error), ToolOutcomeKind.PANICKED)
            finally:
                self._progress.end()
                if not self.has_ended and not self.lost:
                    self._observe(ToolOutcomeKind.CANCELLED)
                if self._outcome not in {ToolOutcomeKind.DONE, ToolOutcomeKind.ASKED}:
                    tracing.set_error(span, self._outcome or "lost")
                self._on_end(self)

    def _end_with(self, outcome: ToolOutcome) -> None:
        if outcome.needs is not None:
            self._ask(outcome.needs)
            return
        kind = ToolOutcomeKind.DONE
        if outcome.is_error:
            is_unknown = is_outcome_unknown(outcome.text)
            kind = ToolOutcomeKind.UNKNOWN if is_unknown else ToolOutcomeKind.ERROR
        result = ToolResult(
            tool_call_id=self.call.id,
            result=outcome.text,
            is_error=outcome.is_error,
            cut=outcome.cut,
            files=outcome.files,
        )
        self._take(result, kind)

    def _ask(self, needs: InputNeeded) -> None:
        """Take the question of the tool, unless it has asked too often or its time is over."""
        number = 0 if self.call.question is None else self.call.question.number + 1
        if number >= MAX_QUESTIONS:
            self._end(asks_too_often(MAX_QUESTIONS), ToolOutcomeKind.ERROR)
        elif not self.has_ended:
            self.asks = InputCall(
                tool_call_id=self.call.id,
                question=replace(needs.question, number=number),
                continuation=needs.continuation,
            )
            self._observe(ToolOutcomeKind.ASKED)

    def _end(self, text: str, kind: ToolOutcomeKind) -> None:
        self._take(ToolResult(tool_call_id=self.call.id, result=text, is_error=True), kind)

    def _take(self, result: ToolResult, kind: ToolOutcomeKind) -> None:
        if self.result is None:
            self.result = result
            self._observe(kind)

    def _observe(self, kind: ToolOutcomeKind) -> None:
        self._outcome = kind
        seconds = anyio.current_time() - self.stage.started_at
        self._metrics.tool_calls.add(Executor.SERVER, kind)
        self._metrics.tool_seconds.observe(seconds, self.call.name)


def _given_input(call: ToolCall) -> GivenInput | None:
    if call.continuation is None or call.decision is None:
        return None
    return GivenInput(
        continuation=call.continuation,
        decision=call.decision["decision"],
        content=call.decision.get("content"),
    )
