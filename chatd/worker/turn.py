"""One turn: step by step, from what is stored to an answer that is stored, or to a failure.

A step that failed may be tried again; how often and when is durable, so that the next owner goes on
where this one stopped.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import anyio
import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import ModelNotFound
from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import (
    Message,
    NewMessage,
    Part,
    Role,
    error_results,
    interrupted_message,
    pending_tool_calls,
)
from chatd.domain.outcomes import TurnOutcome
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.store.turns import Turns
from chatd.supervision.progress import StageTimeout
from chatd.telemetry import tracing
from chatd.telemetry.metrics import Metrics
from chatd.worker.flusher import Flusher
from chatd.worker.lease import Lease
from chatd.worker.model_call import ModelCall, ModelResponse
from chatd.worker.next_step import (
    AwaitClientTools,
    CallModel,
    Finish,
    NextStep,
    RejectUnknownTools,
    next_step,
    steps_taken,
)
from chatd.worker.retry import RetryPolicy
from chatd.worker.turn_limits import TurnLimits
from chatd.worker.turn_stats import TurnStats
from chatd.worker.writer import Interrupted, Writer

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServices:
    """What every runner works with."""

    turns: Turns
    change_bus: ChangeBus
    hub: ChatHub
    flusher: Flusher
    catalog: Catalog
    limits: TurnLimits
    retry: RetryPolicy
    metrics: Metrics = field(default_factory=Metrics)
    jitter: Callable[[], float] = random.random


class Turn:
    """Works one turn of a chat in hand; ``stats`` counts what it costs."""

    def __init__(self, services: TurnServices, lease: Lease, writer: Writer) -> None:
        self._services = services
        self._lease = lease
        self._writer = writer
        self._call: ModelCall | None = None
        self._response: NewMessage | None = None
        self._history: tuple[Message, ...] = ()
        self.stats = TurnStats(lease.chat)

    async def run(self, wait_seconds: float) -> None:
        """Go on until the turn is over. Raises ``Interrupted`` and ``Lost``."""
        if self._lease.chat.status is Status.INTERRUPTING:
            raise Interrupted  # before this turn began, and nobody heard how the last one ended
        try:
            with self._lease.progress.stage("turn", self._services.limits.timeout_seconds):
                await self._wait(wait_seconds)
                while await self._step():
                    pass
        except StageTimeout as timeout:
            await self.fail(Failure(kind=FailureKind.TIMEOUT, message=str(timeout)))

    async def finish_interrupt(self) -> None:
        """Store what there is: the whole answer, or what was said of it. No call stays open."""
        messages = [self._response] if self._response else []
        if self._response is None and self._call is not None:
            model_id = self._lease.chat.last_model_config_id
            messages += interrupted_message(self._call.content, model_config_id=model_id)
        self.stats.outcome = TurnOutcome.INTERRUPTED
        if calls := [call.part for call in pending_tool_calls([*self._history, *messages])]:
            messages.append(error_results(calls, lambda _: "cancelled"))
        await self._writer.finish_interrupt(messages, self._settled_part())

    async def release(self, *, reason: str) -> None:
        """Give the chat back, or stop if that was asked meanwhile."""
        self.stats.outcome = TurnOutcome.RELEASED
        try:
            await self._writer.release(reason=reason)
        except Interrupted:
            await self.finish_interrupt()

    async def fail(self, failure: Failure, *, attempts: int | None = None) -> None:
        """The turn cannot succeed: keep the reason."""
        tried = self._lease.chat.attempts + 1 if attempts is None else attempts
        self.stats.outcome, self.stats.failure = TurnOutcome.FAILED, failure
        _log.warning(
            "chat.failed",
            kind=failure.kind.value,
            provider=failure.provider,
            model=failure.model,
            status_code=failure.status_code,
            attempts=tried,
            reason=failure.loggable,
        )
        await self._writer.fail(
            last_error=failure.message,
            detail=failure.detail(attempts=tried, at=datetime.now(UTC)),
            settled_part=self._settled_part(),
        )

    async def _step(self) -> bool:
        """One step; False when the turn is over."""
        self._history = history = await self._writer.history()
        self.stats.steps += 1
        if self.stats.steps == 1:
            self.stats.add_time("client", _client_tool_seconds(history))
        step = self._next_step(history)
        if isinstance(step, CallModel):
            return await self._call_model(history)
        return await self._end_step(step, [])

    def _next_step(self, history: Sequence[Message | NewMessage]) -> NextStep:
        tools = {tool["name"] for tool in self._lease.chat.tools}
        return next_step(history, client_tools=tools)

    async def _end_step(
        self, step: RejectUnknownTools | AwaitClientTools | Finish, messages: list[NewMessage]
    ) -> bool:
        """Store ``messages``, and what their calls are answered at once, and do as ``step`` says."""
        match step:
            case RejectUnknownTools(calls):
                self._services.metrics.turns.tool_calls.add("unknown", amount=len(calls))
                await self._writer.commit_step(
                    [*messages, *_unknown_tool_errors(calls)], self._settled_part()
                )
                self._call = self._response = None
                self._history = ()
                return True
            case AwaitClientTools(calls, unknown):
                self._services.metrics.turns.tool_calls.add("unknown", amount=len(unknown))
                self._services.metrics.turns.tool_calls.add("client", amount=len(calls))
                await self._writer.require_action(
                    [*messages, *_unknown_tool_errors(unknown)],
                    calls,
                    self._settled_part(),
                    client_tool_timeout_seconds=self._services.limits.client_tool_timeout_seconds,
                )
                self.stats.outcome = TurnOutcome.REQUIRES_ACTION
                return False
            case Finish():
                await self._writer.finish_turn(messages, self._settled_part())
                self.stats.outcome = TurnOutcome.FINISHED
                return False

    async def _call_model(self, history: tuple[Message, ...]) -> bool:
        if steps_taken(history) >= self._services.limits.max_steps:
            await self.fail(
                Failure(
                    kind=FailureKind.STEP_LIMIT,
                    message=f"the turn took {self._services.limits.max_steps} steps without an end",
                )
            )
            return False
        try:
            model = self._services.catalog.by_id(self._lease.chat.last_model_config_id)
        except ModelNotFound:
            message = "the chat's model is not configured on this server any more"
            await self.fail(Failure(kind=FailureKind.CONFIGURATION, message=message))
            return False
        self.stats.model = model.name
        outcome = await self._run_model_call(model, history)
        if isinstance(outcome, Failure):
            return await self._retry_or_fail(outcome)
        return await self._store_response(model, outcome)

    async def _run_model_call(
        self, model: ModelConfig, history: tuple[Message, ...]
    ) -> ModelResponse | Failure:
        services, counts = self._services, self._services.metrics.turns
        async with ModelCall(
            catalog=services.catalog,
            hub=services.hub,
            flusher=services.flusher,
            limits=services.limits,
            lease=self._lease,
            model=model,
        ) as call:
            self._call = call
            counts.provider_calls.add(model.name)
            try:
                outcome = await call.run(history)
            finally:
                self.stats.record_call(call)
        if isinstance(outcome, Failure):
            counts.provider_errors.add(model.name, outcome.kind)
        return outcome

    async def _store_response(self, model: ModelConfig, response: ModelResponse) -> bool:
        self._response = message = NewMessage(
            role=Role.ASSISTANT,
            content=response.content,
            model_config_id=model.id,
            usage=response.finished.usage,
            finish_reason=response.finished.reason,
        )
        self.stats.add_usage(response.finished.usage)
        for kind, tokens in asdict(response.finished.usage).items():
            if tokens:
                self._services.metrics.turns.tokens.add(
                    model.name, kind.removesuffix("_tokens"), amount=tokens
                )
        step = self._next_step([message])
        assert not isinstance(step, CallModel)  # noqa: S101 - nobody asks after an answer
        return await self._end_step(step, [message])

    async def _retry_or_fail(self, failure: Failure) -> bool:
        """Wait and go on, or give up."""
        attempts = self._lease.chat.attempts + 1
        delay = self._services.retry.delay(
            failure, attempts=attempts, jitter=self._services.jitter()
        )
        if delay is None:
            await self.fail(failure, attempts=attempts)
            return False
        self._services.metrics.turns.retries.add(failure.kind)
        _log.info(
            "chat.retry",
            attempt=attempts,
            delay_seconds=round(delay, 3),
            kind=failure.kind.value,
            status_code=failure.status_code,
        )
        await self._writer.record_retry(
            attempts=attempts,
            delay_seconds=delay,
            settled_part=self._settled_part(),
            failure=failure.detail(attempts=attempts, at=datetime.now(UTC)),
        )
        self._call = None
        await self._wait(delay)
        return True

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._lease.progress.mark("backing off")
            self.stats.add_time("backoff", seconds)
            await anyio.sleep(seconds)

    def _settled_part(self) -> int:
        """The number of the last part that was streamed."""
        return self._call.preview.last_part if self._call else self._lease.chat.settled_part


def _client_tool_seconds(history: Sequence[Message]) -> float:
    """How long the client took to run its tools, when this turn goes on with what they returned."""
    match history:
        case [*_, asked, Message(role=Role.TOOL) as answered]:
            tracing.record_client_tools(asked.created_at, answered.created_at)
            return max((answered.created_at - asked.created_at).total_seconds(), 0.0)
        case _:
            return 0.0


def _unknown_tool_errors(calls: Sequence[Part]) -> list[NewMessage]:
    """What the model is told of calls that nobody can run."""
    if not calls:
        return []
    return [error_results(calls, lambda call: f"There is no tool named {call['tool_name']}.")]
