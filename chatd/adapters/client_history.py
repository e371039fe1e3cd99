"""The intent of a client that sends its list of messages each time, which ends with the user's. No I/O.

The list is read for the client's intent only: the stored history is the truth, and nothing is dropped for
being absent from the list.
"""

from enum import Enum, auto

from chatd.domain.chat import Status
from chatd.domain.message import CLIENT_KEY, Content, Message, Part, QueuedMessage


class Intent(Enum):
    """A thing that a client wants done."""

    CREATE = auto()
    SEND = auto()
    EDIT = auto()
    REGENERATE = auto()
    RETRY = auto()
    ATTACH = auto()
    """Nothing: the turn is queued, under way, or over, and is only to be streamed."""


def intent(
    content: Content,
    *,
    status: Status | None,
    stored: Message | QueuedMessage | None,
    is_last: bool,
    regenerates: bool = False,
) -> Intent:
    """Return what a client wants that sends a message.

    ``status`` is the chat's (None: there is none). ``stored`` is the message that the client means, if it
    is stored, and ``is_last`` tells that no message of the user follows on it. ``regenerates`` tells that
    the client wants its answer anew.
    """
    if status is None:
        return Intent.CREATE
    if stored is None:
        return Intent.SEND
    if not _is_same(content, stored.content):
        return Intent.EDIT
    if isinstance(stored, QueuedMessage):
        return Intent.ATTACH
    if status is Status.ERROR and is_last:
        return Intent.RETRY
    return Intent.REGENERATE if regenerates else Intent.ATTACH


def _is_same(sent: Content, stored: Content) -> bool:
    return [_identity(part) for part in sent] == [_identity(part) for part in stored]


def _identity(part: Part) -> object:
    """Return what a part says. A file is known by its id, which follows from its bytes."""
    if "file_id" in part:
        return str(part["file_id"])
    return {key: part[key] for key in part if key != CLIENT_KEY}
