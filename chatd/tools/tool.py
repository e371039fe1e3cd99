"""A tool, one call of it, and what came of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from chatd.domain.agents import Wait
from chatd.domain.files import File
from chatd.domain.permission import Permission
from chatd.domain.question import Question
from chatd.domain.tool_call import CallPolicy, CutOutput
from chatd.domain.tool_choice import ToolKind
from chatd.tools.output import OutputLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """A report of a running tool: ``text`` that it put out since the last one, or how far it is."""

    text: str = ""
    progress: float | None = None
    total: float | None = None
    message: str = ""


MAX_FILES: Final = 16
"""Images of one result."""

ReportProgress = Callable[[ToolProgress], None]
"""Function that takes a report. It returns at once, however often it is called."""


def ignore_progress(_: ToolProgress) -> None:
    """Do nothing: nobody follows the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputNeeded:
    """A question of a tool to a person, and what the tool needs to go on when it is answered."""

    question: Question
    continuation: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenInput:
    """The answer of a person to what a tool asked, with the ``continuation`` of that question."""

    continuation: bytes = field(repr=False)
    decision: str
    """One of `accept`, `decline` and `cancel`."""
    content: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """One call of a tool. ``args`` fit the schema of its parameters."""

    args: Mapping[str, Any]
    key: UUID
    """The same for each start of this call, and for no other call."""
    output: OutputLimits
    """Sizes of the output. A tool that reads more from elsewhere keeps no more in memory."""
    on_progress: ReportProgress = ignore_progress
    given: GivenInput | None = None
    """The input that the call goes on with. None: it begins."""
    reattaches: bool = False
    """True if another worker started the call: its result is to be found out, and nothing started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """Result of a call. A tool that failed says why in ``text``, for the model.

    One that ``needs`` input has no result yet.
    """

    text: str = ""
    is_error: bool = False
    cut: CutOutput | None = None
    """The output, of a tool that cut it itself."""
    files: Sequence[File] = ()
    """Images. The text says of each that it is there."""
    needs: InputNeeded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the server runs.

    ``run`` is cancelled when its time is over, or when the turn stops. What it raises is a bug.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON schema of type ``object``."""
    policy: CallPolicy
    timeout_seconds: float
    run: Callable[[ToolRequest], Awaitable[ToolOutcome]]
    question: Callable[[Mapping[str, Any]], Question] | None = None
    """Function that returns the question about a call that a person answers. Then ``run`` is not called."""
    wait: Callable[[Mapping[str, Any]], Wait | None] | None = None
    """Function that returns what a call waits for. Then ``run`` is not called. None: it is."""
    note: str | None = None
    """Words for a person who is asked about a call."""
    permission: Permission | None = None
    """The permission that its section of the configuration has. None: it has none."""
    read_only: bool = False
    """True if it changes nothing, as far as the operator says or trusts."""
    needs_permission: bool = True
    """False: it shows what the chat was allowed to know before."""
    checks_arguments: bool = False
    """True: ``run`` checks them. The schema of another server is shown to models, and never evaluated."""
    kind: ToolKind = ToolKind.BUILTIN
    server: str = ""
    """The server that it is of, by which a chat chooses it. Empty: a chat chooses it by its own name."""
    by_default: bool = True
    """True if chats have it that choose nothing of its kind."""
