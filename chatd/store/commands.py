"""Commands: one frozen value for each transition that a worker makes on a leased chat.

The fields of a command are the parameters of its query, besides those of the fencing token. Both are
compared when this module is imported, so a name that only one of them has fails the import.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from chatd.domain.chat import Chat, Status
from chatd.domain.files import File
from chatd.domain.message import NewMessage
from chatd.domain.notice import Notice, notices_json
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.tool_call import InputCall, NewToolCall, ToolResult
from chatd.domain.tool_call_errors import CANCELLED, TURN_FAILED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.compact import Compact
from chatd.store.files import FILE_PARAMETERS
from chatd.store.worker_command import MESSAGES, NO_PARAMETER, WorkerCommand, encoders

_TURNS = sql.load("turns")
_TOOL_CALLS = sql.load("tool_calls")
_FAMILIES = sql.load("families")

_FENCE_PARAMETERS: Final = ("chat_id", "worker_id", "epoch")


def _each_to_json(
    values: Sequence[NewToolCall | ToolResult | InputCall],
) -> list[Mapping[str, Any]]:
    return [value.to_json() for value in values]


def _files_of(values: Sequence[NewMessage | ToolResult]) -> Iterable[File]:
    return (file for value in values for file in value.files)


_WITHOUT_FILES: Final = {
    "encode": lambda results: _each_to_json([each.without_files() for each in results])
}
_TO_JSON: Final = {"encode": _each_to_json}
_JSON: Final = {"encode": replace_unstorable_json}
_NOTICES: Final = {"encode": notices_json}


def _finish_constants(
    transition: Transition, status: Status, *, keep_lease: bool
) -> Mapping[str, object]:
    return {
        "transition": transition.value,
        "from_status": status.value,
        "keep_lease": keep_lease,
        "words": CANCELLED,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreMessages(WorkerCommand):
    """Base of the commands that store the messages of a step.

    ``settled_part`` is the number of the last streamed part that the messages replace.
    """

    stores_files = True

    messages: Sequence[NewMessage] = field(metadata=MESSAGES)
    settled_part: int
    notices: Sequence[Notice] = field(default=(), metadata=_NOTICES)

    @property
    def files(self) -> Iterable[File]:
        return _files_of(self.messages)

    def is_applied(self, chat: Chat) -> bool:
        return chat.committed_steps > self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStep(_StoreMessages):
    """Command that stores one step and lets the turn go on. It opens ``calls``."""

    transition = Transition.COMMIT_STEP
    query = _TURNS["commit_step"]

    calls: Sequence[NewToolCall] = field(default=(), metadata=_TO_JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCalls(WorkerCommand):
    """Command that stores ``results`` of started calls, and starts those of ``start_ids``.

    Those of ``asking`` are asked from now on. The result of the last open call also stores the message with
    all of them, which is a step.
    """

    transition = Transition.CLOSE_CALLS
    stores_files = True
    query = _TOOL_CALLS["close_calls"]

    results: Sequence[ToolResult] = field(metadata=_TO_JSON)
    asking: Sequence[InputCall] = field(default=(), metadata=_TO_JSON)
    start_ids: Sequence[str] = ()
    settled_part: int
    """The number of the last part that the tools reported."""

    @property
    def files(self) -> Iterable[File]:
        return _files_of(self.results)

    def is_applied(self, chat: Chat) -> bool:
        # Only the last result makes the next try match no row. Any other try finds it stored.
        return chat.committed_steps > self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class RequireAction(_StoreMessages):
    """Command that stores one step and waits for answers to those of ``calls`` that are asked.

    ``timeouts`` has the seconds for an answer, by the kind of the question. A call without a ``message_id``
    belongs to the assistant's message among ``messages``.
    """

    ends_lease = True
    transition = Transition.REQUIRE_ACTION
    query = _TOOL_CALLS["require_action"]

    calls: Sequence[NewToolCall] = field(metadata=_TO_JSON)
    timeouts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Park(_StoreMessages):
    """Command that stores one step and waits for other chats, as those of ``calls`` say that are parked.

    Calls that the ledger has as parked go on waiting. A call without a ``message_id`` belongs to the
    assistant's message among ``messages``.
    """

    ends_lease = True
    transition = Transition.PARK
    query = _FAMILIES["park"]

    calls: Sequence[NewToolCall] = field(default=(), metadata=_TO_JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finish(_StoreMessages):
    """Base of the commands that end a turn. Open tool calls get their ``results``, else an error."""

    ends_lease = True
    closes_all_calls = True
    query = _TURNS["finish"]

    results: Sequence[ToolResult] = field(default=(), metadata=_TO_JSON)

    @property
    def files(self) -> Iterable[File]:
        return _files_of([*self.messages, *self.results])


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishTurn(_Finish):
    """Command that ends the turn with its last step. The head of the queue becomes the next turn."""

    transition = Transition.FINISH_TURN
    constants = _finish_constants(transition, Status.RUNNING, keep_lease=True)

    @property
    def ends_with_others(self) -> bool:
        return not self.notices


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishInterrupt(_Finish):
    """Command that stores the answer up to the interrupt, and ends the turn.

    The head of the queue becomes the next turn. A chat that turns out not to be interrupting stays
    running.
    """

    transition = Transition.FINISH_INTERRUPT
    constants = _finish_constants(transition, Status.INTERRUPTING, keep_lease=True)

    def is_applied(self, chat: Chat) -> bool:
        return chat.committed_steps > self.step or chat.status is Status.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapInterrupt(_Finish):
    """Command that finishes the interrupt of a dead worker. No worker holds the chat afterwards."""

    transition = Transition.REAP_INTERRUPT
    constants = _finish_constants(transition, Status.INTERRUPTING, keep_lease=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecordAttempt(WorkerCommand):
    """Base of the commands that record a failed attempt at a step. The next is due in ``delay_seconds``."""

    attempts: int
    delay_seconds: float
    settled_part: int
    failure: Mapping[str, Any] = field(metadata=_JSON)

    def is_applied(self, chat: Chat) -> bool:
        return chat.attempts >= self.attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetry(_RecordAttempt):
    """Command that records a failed attempt whose worker waits for the next."""

    transition = Transition.RECORD_RETRY
    query = _TURNS["record_retry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer(_RecordAttempt):
    """Command that records a failed attempt, and gives the chat back until the next is due.

    The turn may last ``remaining_seconds`` longer.
    """

    ends_lease = True
    transition = Transition.DEFER
    query = _TURNS["defer"]

    remaining_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(WorkerCommand):
    """Command that ends the turn with an error. Open tool calls get their ``results``, else an error."""

    ends_lease = True
    closes_all_calls = True
    constants: ClassVar[Mapping[str, object]] = {"words": TURN_FAILED}
    transition = Transition.FAIL
    query = _TURNS["fail"]

    last_error: str
    last_error_detail: Mapping[str, Any] = field(metadata=_JSON)
    settled_part: int
    results: Sequence[ToolResult] = field(default=(), metadata=_WITHOUT_FILES)

    def is_applied(self, chat: Chat) -> bool:
        # The commit of the turn's end may have succeeded although its response was lost.
        return chat.status is Status.ERROR or chat.committed_steps > self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(WorkerCommand):
    """Command that gives the chat back to ``pending``. It costs no attempt and leaves no error."""

    transition = Transition.RELEASE
    query = _TURNS["release"]

    step: int = field(metadata=NO_PARAMETER)
    reason: str

    def is_applied(self, chat: Chat) -> bool:
        # The end of the turn may be stored although its response was lost.
        return chat.status is Status.PENDING or chat.committed_steps > self.step


WORKER_COMMANDS: Final[tuple[type[WorkerCommand], ...]] = (
    CommitStep,
    CloseCalls,
    Compact,
    RequireAction,
    Park,
    FinishTurn,
    FinishInterrupt,
    ReapInterrupt,
    RecordRetry,
    Defer,
    Fail,
    Release,
)

for _command in WORKER_COMMANDS:
    _files = FILE_PARAMETERS if _command.stores_files else ()
    _limits = ("limits",) if _command.ends_lease else ()
    _command.query.check(
        [*_FENCE_PARAMETERS, *_command.constants, *encoders(_command), *_files, *_limits]
    )
