"""The steps of a turn that open tool calls, run them, or wait for answers to them."""

import json
from collections.abc import Sequence
from typing import Final, TypeAlias, TypedDict

from chatd.domain.message import Message, NewMessage, pending_tool_calls
from chatd.domain.notice import Notice
from chatd.domain.outcomes import ToolOutcomeKind, TurnOutcome
from chatd.domain.permission import Permission
from chatd.domain.question import QuestionKind
from chatd.domain.tool_call import CallState, Executor, InputCall, NewToolCall, ToolResult
from chatd.domain.transitions import Transition
from chatd.store.commands import CommitStep, Park, RequireAction
from chatd.store.histories import ChatHistory
from chatd.worker.compaction.compactor import Compactor
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Lease
from chatd.worker.next_step import (
    AwaitAgents,
    AwaitAnswers,
    CallModel,
    Compact,
    Finish,
    NextStep,
    OpenCalls,
    RunCalls,
    ToolNames,
    cancelled_calls,
    errors_of,
    next_step,
    parked,
)
from chatd.worker.tool_progress import LiveParts
from chatd.worker.tool_run import StartTask, ToolRun
from chatd.worker.turn_services import TurnServices
from chatd.worker.writer import Writer

WAITING_OUTCOMES: Final = {
    Transition.REQUIRE_ACTION: TurnOutcome.REQUIRES_ACTION,
    Transition.PARK: TurnOutcome.PARKED,
}
"""The outcome of a turn that waits for something, by its last transition."""
EndStep: TypeAlias = CallModel | OpenCalls | AwaitAnswers | AwaitAgents | Finish
"""A step that stores messages at once."""


class StepValues(TypedDict):
    """Fields that all commands have that end a step."""

    step: int
    messages: Sequence[NewMessage]
    settled_part: int
    notices: Sequence[Notice]


class CallSteps:
    """The tool calls of one turn."""

    def __init__(
        self,
        *,
        config: TurnConfig,
        lease: Lease,
        writer: Writer,
        services: TurnServices,
        start_task: StartTask,
    ) -> None:
        self._config = config
        self._lease = lease
        self._writer = writer
        self._services = services
        self._start_task = start_task
        self._metrics = services.metrics.turns
        self._run = ToolRun(
            tools=config.tools,
            limits=config.tool_limits,
            lease=lease,
            writer=writer,
            metrics=services.metrics.turns,
            live=LiveParts(services.hub, services.flusher, lease),
            start_task=start_task,
        )

    def with_config(self, config: TurnConfig) -> "CallSteps":
        """Return the same with another configuration, while no tool runs."""
        return CallSteps(
            config=config,
            lease=self._lease,
            writer=self._writer,
            services=self._services,
            start_task=self._start_task,
        )

    def next_step(self, history: ChatHistory, compactor: Compactor) -> NextStep:
        """Return what to do after ``history``."""
        return next_step(
            history.messages,
            history.ledger,
            tools=self._names(history),
            epoch=self._lease.fence.epoch,
            is_too_large=compactor.is_due(history),
            compaction_requested=compactor.is_requested,
            answers_nothing=compactor.ends_turn(history),
        )

    def step_after(self, response: NewMessage, history: ChatHistory) -> EndStep:
        """Return what to do after a response to ``history`` that is not stored yet."""
        step = next_step([response], tools=self._names(history))
        assert not isinstance(step, RunCalls | Compact)  # noqa: S101 - nothing of it is stored yet
        return step

    async def run(self, step: RunCalls, history: ChatHistory, *, window: int | None) -> None:
        """Run server tools until the result of each is stored. Raise ``Interrupted`` or ``LeaseLost``."""
        calls = pending_tool_calls(history.messages)
        args = {call.id: call.part.get("args") or "" for call in calls}
        args |= {call.id: json.dumps(call.args) for call in history.ledger if call.args is not None}
        await self._run.run(step, args, window=window)

    def command(
        self, step: CallModel | OpenCalls | AwaitAnswers | AwaitAgents, values: StepValues
    ) -> CommitStep | RequireAction | Park:
        """Return the command that stores the messages of ``values`` and how their calls begin."""
        if isinstance(step, CallModel):
            return CommitStep(**values)
        if isinstance(step, OpenCalls):
            self._count(step.calls)
            if step.all_closed:
                values["messages"] = [*values["messages"], errors_of(step.calls)]
                return CommitStep(**values)
            if step.server_runs:
                return CommitStep(**values, calls=step.calls)
            if not step.asks:
                step = AwaitAgents(tuple(map(parked, step.calls)))
        if isinstance(step, AwaitAgents):
            return Park(**values, calls=step.calls)
        return RequireAction(
            **values,
            calls=step.calls,
            timeouts={
                QuestionKind.RESULT: self._config.limits.client_tool_timeout_seconds,
                QuestionKind.APPROVAL: self._config.tool_limits.approval_seconds,
                QuestionKind.INPUT: self._config.tool_limits.approval_seconds,
            },
        )

    async def stop(self) -> Sequence[ToolResult]:
        """Cancel the tools that run. Return the results that are there and not stored."""
        await self._run.stop()
        return self._run.unstored

    @property
    def asking(self) -> Sequence[InputCall]:
        """Questions of tools that need input and are not stored."""
        return self._run.asking

    async def stop_with_output(self) -> Sequence[ToolResult]:
        """Do the same. The results of calls that are cut short have what their tools put out so far."""
        return [*await self.stop(), *self._run.interrupted]

    @property
    def last_part(self) -> int:
        """The number of the last part that tools reported."""
        return self._run.live.last_part

    def cancelled(
        self, history: ChatHistory, messages: Sequence[Message | NewMessage]
    ) -> list[NewMessage]:
        """Return the answer to calls of ``messages``, which are not stored yet and end the turn.

        Calls in the ledger are answered by the statement that closes them.
        """
        if history.ledger:
            return []
        calls = pending_tool_calls([*history.messages, *messages])
        return [cancelled_calls(calls, self._names(history))] if calls else []

    def _names(self, history: ChatHistory) -> ToolNames:
        return ToolNames(
            client={tool["name"] for tool in history.tools},
            server=self._config.tools.policies,
            parallel=self._config.tool_limits.parallel,
            permission=self._permission,
            approval=self._config.tools.approval,
            question=self._config.tools.question,
            wait=self._config.tools.wait,
        )

    def _permission(self, name: str) -> Permission:
        return self._config.tools.permission(name, self._lease.chat.permissions)

    def _count(self, calls: Sequence[NewToolCall]) -> None:
        for call in calls:
            if call.state is CallState.ASKED:
                self._metrics.tool_calls.add(call.executor, ToolOutcomeKind.ASKED)
            elif call.state is CallState.CLOSED:
                self._metrics.tool_calls.add(Executor.SERVER, self._refusal(call.part["tool_name"]))

    def _refusal(self, name: str) -> ToolOutcomeKind:
        """Return the outcome of a call of a tool that does not begin."""
        if name not in self._config.tools.policies:
            return ToolOutcomeKind.NO_SUCH_TOOL
        is_denied = self._permission(name) is Permission.DENY
        return ToolOutcomeKind.DENIED if is_denied else ToolOutcomeKind.ERROR
