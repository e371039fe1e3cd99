"""The stream of a list of chats: its changes, and the cursor of a subscriber.

The stream sends states, not transitions: a subscriber that comes back gets each chat that changed
meanwhile, as it is now. The cursor is the database's clock at a read. A change becomes visible when its
statement commits, which may be later than a read whose time lies after the change's own. That takes at
most the ``overlap``, so a read asks for everything since ``cursor - overlap``, and what arrives twice is
dropped by its version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from chatd.domain.chat import Chat

DELETED_VERSION: Final = 2**63 - 1
"""The version of a deleted chat, which is higher than any other."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS: Final = 18
"""Digits of a number that certainly fits into a bigint."""


@dataclass(frozen=True, slots=True)
class ChatChange:
    """One chat of a list as it is since ``changed_at``; ``chat`` is None when it was deleted."""

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
    """A read of the changes of an owner's list since a time, without the versions that are known."""

    owner_id: str
    since: datetime
    known_versions: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """The changes that one read of a list found, oldest first.

    ``read_at`` is the database's clock just before the read. ``is_complete`` is False when there are more
    changes than one read returns.
    """

    read_at: datetime
    changes: Sequence[ChatChange]
    is_complete: bool = True


class SentVersions:
    """Recently delivered chat versions, used to drop duplicates.

    Entries older than the read overlap are pruned.
    """

    def __init__(self) -> None:
        self._sent: dict[UUID, tuple[int, datetime]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def has_sent(self, change: ChatChange) -> bool:
        """Return whether this version or a later one was sent."""
        return change.version <= self._sent.get(change.chat_id, (0,))[0]

    def take_new(self, changes: Iterable[ChatChange]) -> list[ChatChange]:
        """Return the changes that were not sent yet, and count them as sent."""
        new_changes = []
        for change in changes:
            if not self.has_sent(change):
                self._sent[change.chat_id] = (change.version, change.changed_at)
                new_changes.append(change)
        return new_changes

    def prune(self, before: datetime) -> None:
        """Forget the versions of changes up to ``before``."""
        self._sent = {
            chat_id: (version, changed_at)
            for chat_id, (version, changed_at) in self._sent.items()
            if changed_at > before
        }

    def versions_since(self, since: datetime) -> dict[UUID, int]:
        """Return the versions that a read of everything after ``since`` may leave out."""
        return {
            chat_id: version
            for chat_id, (version, changed_at) in self._sent.items()
            if changed_at > since
        }


def encode_cursor(read_at: datetime) -> str:
    """Return the cursor of a read: microseconds of the database's clock."""
    return str((read_at - _EPOCH) // timedelta(microseconds=1))


def decode_cursor(cursor: str) -> datetime:
    """Read the text that ``encode_cursor`` wrote. Raises ``ValueError`` for anything else."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise ValueError(f"not a cursor: {cursor[:80]!r}")
    try:
        return _EPOCH + timedelta(microseconds=int(cursor))
    except OverflowError as error:
        raise ValueError(f"not a cursor: {cursor[:80]!r}") from error


def can_resume(
    cursor: datetime, *, read_at: datetime, overlap: timedelta, retention: timedelta
) -> bool:
    """Return whether everything that changed since ``cursor`` is still known.

    Deletions are stored for the ``retention``. A cursor of the future comes from another database, or the
    clock was set back.
    """
    return read_at - retention <= cursor - overlap and cursor <= read_at
