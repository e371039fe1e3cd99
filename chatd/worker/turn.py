"""Turn: step by step, from the stored history to a stored response or a failure.

A failed step may be retried. The number of attempts and the next due time are durable, so that another
worker goes on where this one stopped.

A turn of one step costs some 30 us here, besides the model call and the stores. The benchmark ``turns``
watches it.
"""

from collections.abc import Sequence
from dataclasses import replace

import anyio
from anyio.lowlevel import checkpoint

from chatd.domain.failure import (
    Failure,
    FailureKind,
    unknown_model_failure,
    unknown_word_failure,
)
from chatd.domain.message import NewMessage, Role, interrupted_message
from chatd.domain.notice import Notice
from chatd.domain.outcomes import CallPurpose, TurnOutcome
from chatd.llm.catalog import ModelConfig
from chatd.store.commands import (
    CloseCalls,
    Defer,
    FinishInterrupt,
    FinishTurn,
    Release,
)
from chatd.store.histories import ChatHistory
from chatd.supervision.progress import StageTimeout
from chatd.tools.registry import ToolRegistry
from chatd.worker.call_steps import WAITING_OUTCOMES, CallSteps, EndStep, StepValues
from chatd.worker.compaction.compactor import Compactor
from chatd.worker.config import TurnConfig
from chatd.worker.endless_turns import reason_to_stop
from chatd.worker.failed_attempt import FailedAttempt, fail_command, log_failure
from chatd.worker.lease import Lease
from chatd.worker.model_call import ModelCall, ModelResponse
from chatd.worker.next_step import (
    AwaitAgents,
    AwaitAnswers,
    CallModel,
    Compact,
    Finish,
    OpenCalls,
    RunCalls,
    unknown_ledger_word,
)
from chatd.worker.tool_run import StartTask
from chatd.worker.turn_services import TurnServices
from chatd.worker.turn_stats import TurnStats
from chatd.worker.turn_tools import chosen_tools, model_of, tools_for, window_of
from chatd.worker.writer import Interrupted, Writer


class Turn:
    """One turn of a leased chat. ``stats`` records its cost and its outcome."""

    def __init__(
        self,
        services: TurnServices,
        config: TurnConfig,
        lease: Lease,
        writer: Writer,
        start_task: StartTask,
    ) -> None:
        self._services = services
        self._config = config
        self._lease = lease
        self._writer = writer
        self._call: ModelCall | None = None
        self._response: NewMessage | None = None
        self._history = ChatHistory()
        self._notices: Sequence[Notice] = ()
        self._calls = CallSteps(
            config=config, lease=lease, writer=writer, services=services, start_task=start_task
        )
        self.stats = TurnStats(lease.chat)
        self._compactor = Compactor(
            config=config, services=services, lease=lease, writer=writer, stats=self.stats
        )

    async def run(self, *, seconds_left: float | None = None) -> None:
        """Run steps until the turn is over, or deferred. Raise ``Interrupted`` or ``LeaseLost``.

        A turn that was deferred before has ``seconds_left`` of its time.
        """
        timeout = self._config.limits.timeout_seconds
        elapsed = 0.0 if seconds_left is None else max(timeout - seconds_left, 0.0)
        try:
            with self._lease.progress.stage("turn", timeout, elapsed_seconds=elapsed):
                if elapsed:
                    await checkpoint()  # where a turn whose time is over ends
                tools, self._notices = await chosen_tools(self._services, self._config, self._lease)
                self._use_tools(tools)
                while await self._step():
                    pass
        except StageTimeout as error:
            await self.fail(Failure(kind=FailureKind.TIMEOUT, message=str(error)))

    async def finish_interrupt(self) -> None:
        """Store the response, whole or as far as it was streamed, and close all open tool calls.

        Results that are there are kept, those of tools that end within a moment included.
        """
        results = await self._calls.stop_with_output()
        messages = [self._response] if self._response else []
        if self._response is None and self._call is not None:
            model_id = self._lease.chat.last_model_config_id
            messages += interrupted_message(self._call.content, model_config_id=model_id)
        self.stats.outcome = TurnOutcome.INTERRUPTED
        messages += self._calls.cancelled(self._history, messages)
        await self._writer.apply(FinishInterrupt(**self._step_values(messages), results=results))

    async def release(self, *, reason: str) -> None:
        """Release the chat, or finish the interrupt that was requested meanwhile."""
        self.stats.outcome = TurnOutcome.RELEASED
        results, asking = await self._calls.stop(), self._calls.asking
        try:
            if results or asking:
                step, settled = self._committed_steps, self._settled_part()
                await self._writer.apply(
                    CloseCalls(step=step, results=results, asking=asking, settled_part=settled)
                )
            await self._writer.apply(Release(step=self._committed_steps, reason=reason))
        except Interrupted:
            await self.finish_interrupt()

    async def fail(self, failure: Failure, *, attempts: int | None = None) -> None:
        """Store ``failure`` as the chat's ``last_error``."""
        attempts_made = self._lease.chat.attempts + 1 if attempts is None else attempts
        self.stats.outcome, self.stats.failure = TurnOutcome.FAILED, failure
        log_failure(failure, attempts=attempts_made)
        results = await self._calls.stop()
        await self._writer.apply(
            fail_command(
                failure,
                attempts=attempts_made,
                step=self._committed_steps,
                settled_part=self._settled_part(),
                results=results,
            )
        )

    def _use_tools(self, tools: ToolRegistry) -> None:
        """Use other tools from now on. No tool may run at the moment."""
        if tools is not self._config.tools:
            self._config = replace(self._config, tools=tools)
            self._calls = self._calls.with_config(self._config)

    async def _step(self) -> bool:
        """Run one step. Return False if the turn is over."""
        self._writer.ensure_running()
        self._history = history = await self._writer.history()
        self.stats.steps += 1
        if self.stats.steps == 1:
            self.stats.record_client_tools(history.messages)
        if word := history.unknown_word or unknown_ledger_word(history.ledger):
            await self.fail(unknown_word_failure(word))
            return False
        self._use_tools(tools_for(history, self._services, self._config, self._lease))
        step = self._calls.next_step(history, self._compactor)
        match step:
            case CallModel():
                return await self._call_model(history)
            case Compact():
                return await self._compact(history)
            case RunCalls():
                await self._calls.run(step, history, window=window_of(self._config, self._lease))
                return True
        return await self._end_step(step, [])

    async def _compact(self, history: ChatHistory) -> bool:
        failure = await self._compactor.run(history, settled_part=self._settled_part())
        self._call = None
        if failure is not None:
            return await self._retry_or_fail(failure)
        return True

    async def _end_step(self, step: EndStep, messages: list[NewMessage]) -> bool:
        """Store ``messages`` and the calls in them. Return False if the turn is over."""
        match step:
            case CallModel() | OpenCalls() | AwaitAnswers() | AwaitAgents():
                command = self._calls.command(step, self._step_values(messages))
                await self._writer.apply(command)
                if command.ends_lease:
                    self.stats.outcome = WAITING_OUTCOMES[command.transition]
                    return False
                self._call = self._response = None
                self._history, self._notices = ChatHistory(), ()
                return True
            case Finish():
                await self._writer.apply(FinishTurn(**self._step_values(messages)))
                self.stats.outcome = TurnOutcome.FINISHED
                if messages:
                    self._services.offer_title(
                        self._lease.chat, self._history.messages, messages[-1].content
                    )
                return False

    async def _call_model(self, history: ChatHistory) -> bool:
        if failure := reason_to_stop(history.messages, self._config.limits):
            await self.fail(failure)
            return False
        model = model_of(self._config, self._lease)
        if model is None:
            await self.fail(unknown_model_failure())
            return False
        self.stats.model = model.name
        self._compactor.count_call()
        outcome = await self._run_model_call(model, history)
        if isinstance(outcome, Failure):
            if self._compactor.accepts(outcome):
                return True
            return await self._retry_or_fail(outcome)
        return await self._store_response(model, outcome)

    async def _run_model_call(
        self, model: ModelConfig, history: ChatHistory
    ) -> ModelResponse | Failure:
        services, counts = self._services, self._services.metrics.turns
        async with ModelCall(
            catalog=self._config.catalog,
            hub=services.hub,
            flusher=services.flusher,
            limits=self._config.limits,
            lease=self._lease,
            model=model,
            tools=self._config.tools,
            read_files=self._writer.read_files,
        ) as call:
            self._call = call
            counts.provider_calls.add(model.name, CallPurpose.ANSWER)
            try:
                outcome = await call.run(history)
            finally:
                self.stats.record_call(call)
        if isinstance(outcome, Failure):
            counts.provider_errors.add(model.name, CallPurpose.ANSWER, outcome.kind)
        return outcome

    async def _store_response(self, model: ModelConfig, response: ModelResponse) -> bool:
        self._response = message = NewMessage(
            role=Role.ASSISTANT,
            content=response.content,
            files=response.files,
            model_config_id=model.id,
            usage=response.finished.usage,
            finish_reason=response.finished.reason,
        )
        self.stats.add_usage(response.finished.usage)
        self._services.metrics.turns.add_tokens(
            model.name, CallPurpose.ANSWER, response.finished.usage
        )
        step = self._calls.step_after(message, self._history)
        return await self._end_step(step, [message])

    async def _retry_or_fail(self, failure: Failure) -> bool:
        """Record a retry and wait for it, defer it, or fail. Return True to go on with the turn."""
        attempts, remaining = self._lease.chat.attempts + 1, self._remaining_seconds()
        delay = self._config.retry.delay(
            failure,
            attempts=attempts,
            jitter=self._services.jitter(),
            remaining_seconds=remaining,
        )
        if delay is None:
            await self.fail(failure, attempts=attempts)
            return False
        self._services.metrics.turns.retries.add(failure.kind)
        self.stats.add_time("backoff", delay)
        attempt = FailedAttempt(failure=failure, attempts=attempts, delay_seconds=delay)
        attempt.log()
        command = attempt.command(
            step=self._committed_steps,
            settled_part=self._settled_part(),
            remaining_seconds=remaining,
        )
        await self._writer.apply(command)
        if isinstance(command, Defer):
            self.stats.outcome = TurnOutcome.DEFERRED
            return False
        self._call = None
        self._writer.ensure_running()
        self._lease.progress.mark("backing off")
        await anyio.sleep(delay)
        return True

    def _remaining_seconds(self) -> float:
        """Return the seconds until the turn passes its time limit."""
        return self._lease.progress.snapshot().deadline_in_seconds or 0.0

    @property
    def _committed_steps(self) -> int:
        return self._lease.chat.committed_steps

    def _step_values(self, messages: Sequence[NewMessage]) -> StepValues:
        """Return the fields of a command that stores ``messages`` as the end of the current step."""
        return StepValues(
            step=self._committed_steps,
            messages=messages,
            settled_part=self._settled_part(),
            notices=self._notices,
        )

    def _settled_part(self) -> int:
        """Return the number of the last part that was streamed."""
        return self._call.preview.last_part if self._call else self._calls.last_part
