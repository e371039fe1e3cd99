"""A list of chats that is followed: what was touched, and how far a reader has come.

A list is told by state, not by moves: whoever comes back gets each chat that changed meanwhile, as it is
now. The cursor is the database's clock at a read. What is stored with a time before that may become
visible after it, but only within the ``overlap``: what a statement may take from its stamp to its
commit. So a read asks for everything since ``cursor - overlap``, and what comes twice is dropped by
its version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from chatd.domain.chat import Chat

DELETED_VERSION: Final = 2**63 - 1
"""The version of a deleted chat: nothing comes after it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ChatChange:
    """One chat of a list, as it is since ``at``; ``chat`` is None when it was deleted."""

    chat_id: UUID
    version: int
    changed_at: datetime
    chat: Chat | None

    @classmethod
    def from_chat(cls, chat: Chat) -> "ChatChange":
        return cls(chat.id, chat.version, chat.updated_at, chat)

    @classmethod
    def deleted(cls, chat_id: UUID, deleted_at: datetime) -> "ChatChange":
        return cls(chat_id, DELETED_VERSION, deleted_at, None)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What to read of an owner's list: what was touched since then, but for these versions."""

    owner_id: str
    since: datetime
    known_versions: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """What a read of one list found, longest ago first.

    ``read_at`` is the database's clock, from before the read looked; ``is_complete`` is False when there
    is more than one read may bring.
    """

    read_at: datetime
    changes: Sequence[ChatChange]
    is_complete: bool = True


class SentVersions:
    """The versions that were told lately; what is older than any read can bring is forgotten."""

    def __init__(self) -> None:
        self._sent: dict[UUID, tuple[int, datetime]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def has_sent(self, change: ChatChange) -> bool:
        """Whether this version was told, or a later one."""
        return change.version <= self._sent.get(change.chat_id, (0,))[0]

    def take_new(self, changes: Iterable[ChatChange]) -> list[ChatChange]:
        """Those that are newer than what was told; they count as told from now on."""
        found = []
        for touch in changes:
            if not self.has_sent(touch):
                self._sent[touch.chat_id] = (touch.version, touch.changed_at)
                found.append(touch)
        return found

    def prune(self, before: datetime) -> None:
        self._sent = {key: told for key, told in self._sent.items() if told[1] > before}

    def versions_since(self, moment: datetime) -> dict[UUID, int]:
        """What a read of everything since ``moment`` need not bring."""
        return {key: version for key, (version, at) in self._sent.items() if at > moment}


def encode_cursor(moment: datetime) -> str:
    """A cursor on the wire: microseconds of the database's clock."""
    return str((moment - _EPOCH) // timedelta(microseconds=1))


def decode_cursor(cursor: str) -> datetime:
    """Read what ``encode_cursor`` wrote. Raises ValueError for anything else."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise ValueError(f"not a cursor: {cursor[:80]!r}")
    try:
        return _EPOCH + timedelta(microseconds=int(cursor))
    except OverflowError as error:
        raise ValueError(f"not a cursor: {cursor[:80]!r}") from error


def can_resume(
    cursor: datetime, *, read_at: datetime, overlap: timedelta, retention: timedelta
) -> bool:
    """Whether nothing that happened since ``cursor`` can have been forgotten.

    A cursor of the future is from another database, or its clock was put back. Deletions are ``retention``
    for so long.
    """
    return read_at - retention <= cursor - overlap and cursor <= read_at
