"""Next step of a turn, decided from the stored history and the ledger of tool calls alone.

Because nothing else is read, a turn resumes at the right step after a crash.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chatd.domain.message import (
    PAUSED,
    Message,
    NewMessage,
    Part,
    PendingToolCall,
    Role,
    error_results,
    pending_tool_calls,
)
from chatd.domain.tool_call import (
    MAX_TRIES,
    CallPolicy,
    CallState,
    Executor,
    NewToolCall,
    ToolCall,
)
from chatd.domain.tool_call_errors import CANCELLED, no_such_tool


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model: the last message is not the model's, or its provider paused it."""


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Store how each call of the last message begins. None of them is in the ledger yet."""

    calls: tuple[NewToolCall, ...]

    @property
    def server_runs(self) -> bool:
        """True if the server is to run one of them. It does so before anything is asked of the client."""
        return any(call.state in {CallState.READY, CallState.STARTED} for call in self.calls)

    @property
    def all_closed(self) -> bool:
        """True if all of them have a result at once."""
        return all(call.state is CallState.CLOSED for call in self.calls)


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Run server tools: ``run`` was started for this worker, and ``start`` is to be started.

    The outcome of ``unknown`` is: an earlier worker started them, and they may not start again.
    """

    run: tuple[ToolCall, ...] = ()
    start: tuple[ToolCall, ...] = ()
    unknown: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class AwaitClientTools:
    """Wait for the client to run ``calls``, which are in the ledger."""

    calls: tuple[NewToolCall, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """End the turn: the model's response is complete."""


NextStep = CallModel | OpenCalls | RunCalls | AwaitClientTools | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNames:
    """The tools that a turn may call. A name that both sides have is the client's."""

    client: Collection[str] = ()
    server: Mapping[str, CallPolicy] = field(default_factory=dict)
    parallel: int = 8
    """Calls of server tools that one message starts at once. Further ones are ready."""


def next_step(
    history: Sequence[Message | NewMessage],
    ledger: Sequence[ToolCall] = (),
    *,
    tools: ToolNames,
    epoch: int = 0,
) -> NextStep:
    """Return what to do after ``history``, for the worker of this ``epoch``."""
    pending = pending_tool_calls(history)
    if ledger:
        return _continue(ledger, pending, epoch)
    if pending:
        return OpenCalls(tuple(_opened(pending, tools)))
    last = next((m for m in reversed(history) if m.role is not Role.SYSTEM), None)
    if last is None or (last.role is Role.ASSISTANT and last.finish_reason != PAUSED):
        return Finish()
    return CallModel()


def _continue(
    ledger: Sequence[ToolCall], pending: Sequence[PendingToolCall], epoch: int
) -> RunCalls | AwaitClientTools:
    """Return how calls that are in the ledger go on: those that the server runs come first."""
    run, start, unknown = [], [], []
    for call in ledger:
        if call.state is CallState.READY:
            start.append(call)
        elif call.state is CallState.STARTED:
            if call.epoch == epoch:
                run.append(call)
            elif call.policy is CallPolicy.IDEMPOTENT and call.tries < MAX_TRIES:
                start.append(call)
            else:
                unknown.append(call)
    if run or start or unknown:
        return RunCalls(tuple(run), tuple(start), tuple(unknown))
    asked = {call.id for call in ledger}
    return AwaitClientTools(tuple(_asked(call) for call in pending if call.id in asked))


def _opened(pending: Iterable[PendingToolCall], tools: ToolNames) -> Iterable[NewToolCall]:
    started = 0
    for call in pending:
        name = call.part["tool_name"]
        if name in tools.client:
            yield _asked(call)
        elif name in tools.server:
            started += 1
            yield NewToolCall(
                part=call.part,
                message_id=call.message_id,
                policy=tools.server[name],
                state=CallState.STARTED if started <= tools.parallel else CallState.READY,
            )
        else:
            yield NewToolCall(
                part=call.part,
                message_id=call.message_id,
                state=CallState.CLOSED,
                error=no_such_tool(name),
            )


def _asked(call: PendingToolCall) -> NewToolCall:
    return NewToolCall(
        part=call.part,
        message_id=call.message_id,
        executor=Executor.CLIENT,
        state=CallState.ASKED,
    )


def steps_taken(history: Sequence[Message]) -> int:
    """Return the number of model responses since the last user message."""
    steps = 0
    for message in reversed(history):
        if message.role is Role.USER:
            break
        steps += message.role is Role.ASSISTANT
    return steps


def errors_of(calls: Sequence[NewToolCall]) -> NewMessage:
    """Return the message that answers ``calls``, all of which are closed with an error."""
    errors = {call.id: call.error or "" for call in calls}
    return error_results([call.part for call in calls], lambda part: errors[part["tool_call_id"]])


def cancelled_calls(calls: Sequence[PendingToolCall], tools: ToolNames) -> NewMessage:
    """Return the message that answers ``calls``, which were interrupted before they were stored."""

    def text(part: Part) -> str:
        of_server = part["tool_name"] in tools.server and part["tool_name"] not in tools.client
        return CANCELLED[CallState.READY if of_server else CallState.ASKED]

    return error_results([call.part for call in calls], text)


def unknown_ledger_word(calls: Iterable[ToolCall]) -> str | None:
    """Return the first state or policy that this version does not know. None: it knows all of them."""
    words = (word for call in calls for word in (call.state, call.policy))
    return next((str(word) for word in words if not word.is_known), None)
