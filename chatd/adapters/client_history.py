"""The intent of a client that sends the whole list of its messages each time. It does no I/O.

The list is read for the client's intent only: the stored history is the truth, and nothing is dropped for
being absent from the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from chatd.domain.chat import Status
from chatd.domain.message import Content, Message, QueuedMessage
from chatd.domain.tool_call import ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEnd:
    """The end of a client's list: a message of the user, or results of its tools, or neither.

    ``regenerates`` tells that the client wants the answer anew.
    """

    client_key: str | None = None
    content: Content | None = None
    results: Sequence[ToolResult] = ()
    regenerates: bool = False


class Step(Enum):
    """A thing to do."""

    CREATE = auto()
    SEND = auto()
    EDIT = auto()
    REGENERATE = auto()
    RETRY = auto()
    SUBMIT = auto()
    ATTACH = auto()
    """Nothing: the turn is under way, or over, and is only to be streamed."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A thing that a client wants done, and the stored message that it is about."""

    step: Step
    message: Message | QueuedMessage | None = None


Stored: TypeAlias = Message | QueuedMessage


def intent(
    end: ClientEnd,
    *,
    status: Status | None,
    stored: Stored | None,
    open_calls: Sequence[str] = (),
    settled_calls: Sequence[str] = (),
) -> Intent:
    """Return what the client wants.

    ``status`` is the chat's (None: there is no such chat). ``stored`` is the message that the client's key
    names, ``open_calls`` are those that the chat waits for, and ``settled_calls`` those of the last turn
    with a result. Raises ``ToolResultsMissing`` and ``NoActionRequired``.
    """
    raise NotImplementedError
