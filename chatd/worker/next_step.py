"""Next step of a turn, decided from the stored history and the ledger of tool calls alone.

Because nothing else is read, a turn resumes at the right step after a crash.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chatd.domain.agents import Wait
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
from chatd.domain.permission import Permission
from chatd.domain.question import CLIENT_RUNS, MAY_RUN, Question
from chatd.domain.tool_call import (
    MAX_TRIES,
    CallPolicy,
    CallState,
    Executor,
    NewToolCall,
    ToolCall,
)
from chatd.domain.tool_call_errors import CANCELLED, bad_arguments, denied, no_such_tool


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model: the last message is not the model's, or its provider paused it."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Make the history shorter: the next request is too large, or a caller asked for it."""


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Store how each call of the last message begins. None of them is in the ledger yet."""

    calls: tuple[NewToolCall, ...]

    @property
    def server_runs(self) -> bool:
        """True if the server is to run one of them. It does so before anything is asked."""
        return any(
            call.state in {CallState.READY, CallState.STARTED} and call.wait is None
            for call in self.calls
        )

    @property
    def asks(self) -> bool:
        """True if people or the client are to answer one of them. The wait for chats comes after that."""
        return any(call.state is CallState.ASKED for call in self.calls)

    @property
    def all_closed(self) -> bool:
        """True if all of them have a result at once."""
        return all(call.state is CallState.CLOSED for call in self.calls)


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Run server tools: ``run`` was started for this worker, and ``start`` is to be started.

    An earlier worker may have started some of ``start``, which are idempotent or reattached to. It
    did start those of ``unknown``, and they may not start again, so their outcome is unknown.
    ``denied`` were not started, and a rule denies them by now.
    """

    run: tuple[ToolCall, ...] = ()
    start: tuple[ToolCall, ...] = ()
    unknown: tuple[ToolCall, ...] = ()
    denied: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class AwaitAnswers:
    """Wait for answers to ``calls``, which are in the ledger."""

    calls: tuple[NewToolCall, ...]


@dataclass(frozen=True, slots=True)
class AwaitAgents:
    """Wait for other chats. ``calls`` are parked from now on, as others in the ledger may be already."""

    calls: tuple[NewToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """End the turn: the model's response is complete."""


NextStep = CallModel | Compact | OpenCalls | RunCalls | AwaitAnswers | AwaitAgents | Finish


def _allow(_: str) -> Permission:
    return Permission.ALLOW


def _may_run(_: str) -> Question:
    return MAY_RUN


def _run(*_: str) -> None:
    """Return the question of a call that is not answered, but run, or what one waits for that does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNames:
    """The tools that a turn may call. A name that both sides have is the client's."""

    client: Collection[str] = ()
    server: Mapping[str, CallPolicy] = field(default_factory=dict)
    parallel: int = 8
    """Calls of server tools that one message starts at once. Further ones are ready."""
    permission: Callable[[str], Permission] = _allow
    """The permission to run a tool of the server in this chat."""
    approval: Callable[[str], Question] = _may_run
    """The question whether a tool may run."""
    question: Callable[[str, str], Question | Exception | None] = _run
    """The question of a call, by the name of its tool and its arguments, if a person answers it. An
    exception: the arguments do not fit."""
    wait: Callable[[str, str], Wait | None] = _run
    """The wait of a call, by the name of its tool and its arguments, if it is not run."""


def next_step(
    history: Sequence[Message | NewMessage],
    ledger: Sequence[ToolCall] = (),
    *,
    tools: ToolNames,
    epoch: int = 0,
    is_too_large: bool = False,
    compaction_requested: bool = False,
    answers_nothing: bool = False,
) -> NextStep:
    """Return what to do after ``history``, for the worker of this ``epoch``.

    A history that ``is_too_large`` is compacted before the model is called, and one of which that was
    requested before the turn ends, too. No call is open then. A turn that ``answers_nothing`` does not
    call the model.
    """
    pending = pending_tool_calls(history)
    if ledger:
        waits = _waits(ledger, pending, tools)
        return _run_first(ledger, waits, tools, epoch) or _then_wait(ledger, pending, waits)
    if pending:
        return OpenCalls(tuple(_opened(pending, tools)))
    last = next((m for m in reversed(history) if m.role is not Role.SYSTEM), None)
    is_answered = last is None or (last.role is Role.ASSISTANT and last.finish_reason != PAUSED)
    is_over = is_answered or answers_nothing
    if compaction_requested or (is_too_large and not is_over):
        return Compact()
    return Finish() if is_over else CallModel()


def _run_first(
    ledger: Sequence[ToolCall], waits: Mapping[str, Wait], tools: ToolNames, epoch: int
) -> RunCalls | None:
    """Return how calls that are in the ledger and that the server runs go on. None: there are none."""
    run: list[ToolCall] = []
    start: list[ToolCall] = []
    unknown: list[ToolCall] = []
    denied_now: list[ToolCall] = []
    for call in ledger:
        if call.state is CallState.READY:
            is_denied = tools.permission(call.name) is Permission.DENY
            if is_denied:
                denied_now.append(call)
            elif call.id not in waits:
                start.append(call)
        elif call.state is CallState.STARTED:
            if call.epoch == epoch:
                run.append(call)
            elif _may_go_on(call):
                start.append(call)
            else:
                unknown.append(call)
    if run or start or unknown or denied_now:
        return RunCalls(tuple(run), tuple(start), tuple(unknown), tuple(denied_now))
    return None


def _may_go_on(call: ToolCall) -> bool:
    """Return whether a call that an earlier worker started is started again, or reattached to."""
    return call.policy is CallPolicy.REATTACH or (
        call.policy is CallPolicy.IDEMPOTENT and call.tries < MAX_TRIES
    )


def _then_wait(
    ledger: Sequence[ToolCall], pending: Sequence[PendingToolCall], waits: Mapping[str, Wait]
) -> AwaitAnswers | AwaitAgents:
    """Return the wait for people and the client, and without one the wait for other chats."""
    asked = _in_ledger(ledger, pending, lambda call: call.state is CallState.ASKED)
    if asked:
        return AwaitAnswers(tuple(asked))
    ready = _in_ledger(ledger, pending, lambda call: call.id in waits)
    return AwaitAgents(tuple(parked(replace(call, wait=waits[call.id])) for call in ready))


def parked(call: NewToolCall) -> NewToolCall:
    """Return a call as it is once its chat waits: parked, unless it is closed already."""
    return call if call.wait is None else replace(call, state=CallState.PARKED)


def _waits(
    ledger: Sequence[ToolCall], pending: Sequence[PendingToolCall], tools: ToolNames
) -> Mapping[str, Wait]:
    """Return what each ready call waits for, by its id, if it waits for anything."""
    ready = {call.id: call for call in ledger if call.state is CallState.READY}
    waits = {}
    for call in pending:
        if (row := ready.get(call.id)) is not None:
            args = call.part.get("args") or "" if row.args is None else json.dumps(row.args)
            waits[call.id] = tools.wait(row.name, args)
    return {id_: wait for id_, wait in waits.items() if wait is not None}


def _in_ledger(
    ledger: Sequence[ToolCall],
    pending: Sequence[PendingToolCall],
    fits: Callable[[ToolCall], bool],
) -> Iterable[NewToolCall]:
    """Return those rows of the ledger that fit, in the order of the calls."""
    rows = {call.id: call for call in ledger if fits(call)}
    return [
        NewToolCall(
            part=call.part,
            message_id=call.message_id,
            state=row.state,
            executor=row.executor,
            policy=row.policy,
            question=row.question,
        )
        for call in pending
        if (row := rows.get(call.id)) is not None
    ]


def _opened(pending: Iterable[PendingToolCall], tools: ToolNames) -> Iterable[NewToolCall]:
    started = 0
    for call in pending:
        new = _new_call(call, tools)
        if new.state is CallState.READY and new.wait is None:
            started += 1
            if started <= tools.parallel:
                new = replace(new, state=CallState.STARTED)
        yield new


def _new_call(call: PendingToolCall, tools: ToolNames) -> NewToolCall:
    """Return how a call begins: ready, asked, or closed with an error."""
    name = call.part["tool_name"]
    new = NewToolCall(part=call.part, message_id=call.message_id, state=CallState.READY)
    if name in tools.client:
        return replace(new, executor=Executor.CLIENT, state=CallState.ASKED, question=CLIENT_RUNS)
    if name not in tools.server:
        return replace(new, state=CallState.CLOSED, error=no_such_tool(name))
    permission = tools.permission(name)
    if permission is Permission.DENY:
        return replace(new, state=CallState.CLOSED, error=denied(name))
    question = tools.question(name, call.part.get("args") or "")
    if isinstance(question, Exception):
        return replace(new, state=CallState.CLOSED, error=bad_arguments(str(question)))
    if question is None and permission is Permission.ASK:
        question = tools.approval(name)
    state = CallState.READY if question is None else CallState.ASKED
    wait = tools.wait(name, call.part.get("args") or "") if question is None else None
    return replace(new, policy=tools.server[name], state=state, question=question, wait=wait)


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
