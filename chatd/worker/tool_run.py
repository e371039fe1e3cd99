"""Server tools of one message: run side by side, their results stored in batches."""

from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import anyio

from chatd.domain.errors import LeaseLost
from chatd.domain.outcomes import ToolOutcomeKind
from chatd.domain.tool_call import CallPolicy, CallState, Executor, InputCall, ToolCall, ToolResult
from chatd.domain.tool_call_errors import OUTCOME_UNKNOWN, cancelled_while_running, denied
from chatd.store.commands import CloseCalls
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.tools.output import OutputLimits
from chatd.tools.registry import ToolRegistry
from chatd.worker.lease import Lease
from chatd.worker.next_step import RunCalls
from chatd.worker.tool_execution import ToolExecution
from chatd.worker.tool_progress import CallProgress, LiveParts
from chatd.worker.turn_limits import ToolLimits
from chatd.worker.writer import Writer

STOP_SECONDS: Final = 0.5
"""Time that all tools of a message together have to end when they are cancelled. Then they are left.

An interrupt is answered within a second, and its results have to be stored, too.
"""
BATCH_SECONDS: Final = 0.1
"""Time within which results are stored by one statement. The last result of a message never waits."""

StartTask = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Function that starts a task of the pool, as ``TaskGroup.start_soon`` does."""


class ToolRun:
    """The calls of one message that the server runs.

    ``unstored`` are the results that are there and not stored. A turn that ends early stores them with its
    end. ``live`` has the progress of the calls.
    """

    def __init__(
        self,
        *,
        tools: ToolRegistry,
        limits: ToolLimits,
        lease: Lease,
        writer: Writer,
        metrics: TurnMetrics,
        live: LiveParts,
        start_task: StartTask,
    ) -> None:
        self._tools = tools
        self._limits = limits
        self._lease = lease
        self._writer = writer
        self._metrics = metrics
        self.live = live
        self._start_task = start_task
        self._args: Mapping[str, str] = {}
        self._shown_bytes = limits.output_bytes
        self._running: dict[str, ToolExecution] = {}
        self._unstored: dict[str, ToolResult] = {}
        self._asking: dict[str, InputCall] = {}
        self._cut_short: list[ToolExecution] = []
        self._changed = anyio.Event()
        self._lost = False

    @property
    def unstored(self) -> Sequence[ToolResult]:
        """Results that are there and not stored."""
        return tuple(self._unstored.values())

    @property
    def asking(self) -> Sequence[InputCall]:
        """Questions of tools that need input, as far as they are not stored."""
        return tuple(self._asking.values())

    @property
    def interrupted(self) -> Sequence[ToolResult]:
        """Results of the calls that an interrupt cut short, as far as they had put out anything."""
        return [
            ToolResult(
                tool_call_id=execution.call.id,
                result=cancelled_while_running(execution.output),
                is_error=True,
            )
            for execution in self._cut_short
            if execution.output
        ]

    async def run(self, step: RunCalls, args: Mapping[str, str], *, window: int | None) -> None:
        """Run calls until each has a result that is stored. ``args`` has their arguments by id.

        ``window`` is the number of tokens that the model reads, if it is known.
        Raise ``Interrupted`` or ``LeaseLost``. A cancellation cancels the tools: see ``stop``.
        """
        self._args = args
        self._shown_bytes = self._limits.shown_bytes(window)
        waiting = deque(step.start)
        for call in step.unknown:
            self._add(ToolResult(tool_call_id=call.id, result=OUTCOME_UNKNOWN, is_error=True))
            self._metrics.tool_calls.add(Executor.SERVER, ToolOutcomeKind.UNKNOWN)
        for call in step.denied:
            self._add(ToolResult(tool_call_id=call.id, result=denied(call.name), is_error=True))
            self._metrics.tool_calls.add(Executor.SERVER, ToolOutcomeKind.DENIED)
        try:
            for call in step.run:
                self._begin(call)
            while self._running or self._unstored or self._asking or waiting:
                self._ensure_started()
                free = self._limits.parallel - len(self._running)
                starting = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                if self._unstored or self._asking or starting:
                    await self._store(starting)
                if self._running:
                    await self._wait_for_results()
            self._ensure_started()
        except BaseException:
            self.cancel()
            raise
        finally:
            self.live.end()

    def cancel(self) -> None:
        """Cancel the tools that run, without waiting for them."""
        for execution in self._running.values():
            execution.cancel()

    async def stop(self) -> None:
        """Cancel the tools, and wait a moment for those that end. Their results, if any, are unstored."""
        self.cancel()
        with anyio.move_on_after(STOP_SECONDS):
            while self._running:
                await self._wait_for_change()
        for execution in tuple(self._running.values()):
            self._ended(execution)

    def _ensure_started(self) -> None:
        """Raise ``LeaseLost`` if a tool was not started because the lease was over."""
        if self._lost:
            raise LeaseLost(chat_id=self._lease.fence.chat_id, epoch=self._lease.fence.epoch)

    async def _store(self, starting: Sequence[ToolCall]) -> None:
        """Store the results that are there, and begin the calls that the same statement started."""
        results, asking = self.unstored, self.asking
        await self._writer.apply(
            CloseCalls(
                step=self._lease.chat.committed_steps,
                results=results,
                asking=asking,
                start_ids=[call.id for call in starting],
                settled_part=self.live.last_part,
            )
        )
        for result in results:
            del self._unstored[result.tool_call_id]
        for asked in asking:
            del self._asking[asked.tool_call_id]
        if starting:
            ids = {call.id for call in starting}
            were_started = {call.id for call in starting if call.state is CallState.STARTED}
            for call in (await self._writer.history()).ledger:
                if call.id in ids and call.state is CallState.STARTED:
                    reattaches = call.policy is CallPolicy.REATTACH and call.id in were_started
                    self._begin(call, reattaches=reattaches)

    def _begin(self, call: ToolCall, *, reattaches: bool = False) -> None:
        execution = ToolExecution(
            call,
            self._args.get(call.id, ""),
            reattaches=reattaches,
            tools=self._tools,
            lease=self._lease,
            output=OutputLimits(
                shown_bytes=self._shown_bytes,
                kept_bytes=self._limits.keep_bytes,
                call_id=call.id,
            ),
            metrics=self._metrics,
            progress=CallProgress(call.id, [*self._args].index(call.id), self.live.publish),
            on_end=self._ended,
        )
        self._running[call.id] = execution
        self._lease.progress.enter(execution.stage)
        self._start_task(execution.run)

    def _ended(self, execution: ToolExecution) -> None:
        if self._running.get(execution.call.id) is not execution:
            return  # it was given up before
        self._forget(execution)
        self._lost = self._lost or execution.lost
        if execution.result is not None:
            self._add(execution.result)
        elif execution.asks is not None:
            self._asking[execution.call.id] = execution.asks
        elif not execution.lost:
            self._cut_short.append(execution)

    def _forget(self, execution: ToolExecution) -> None:
        del self._running[execution.call.id]
        self._lease.progress.leave(execution.stage)
        self._changed.set()

    def _add(self, result: ToolResult) -> None:
        self._unstored[result.tool_call_id] = result

    async def _wait_for_results(self) -> None:
        """Wait for a result, and then a little for others, unless it is the last."""
        while self._running and not (self._unstored or self._asking):
            await self._wait_for_change()
        with anyio.move_on_after(BATCH_SECONDS):
            while self._running:
                await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        """Wait until a tool has ended. One that does not end when its time is over is given up."""
        self._changed = anyio.Event()
        overdue_at = min(each.overdue_at for each in self._running.values()) + STOP_SECONDS
        with anyio.move_on_after(overdue_at - anyio.current_time()):
            await self._changed.wait()
        now = anyio.current_time()
        for execution in tuple(self._running.values()):
            if now >= execution.overdue_at + STOP_SECONDS:
                execution.give_up()
                self._ended(execution)
