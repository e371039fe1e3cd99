"""Turns that begin in this process, so that a stream that resumes at their start reads nothing.

A client that posts a message and then opens a stream from the version of the response needs the entries
that began the turn, which this process has just committed, and the live parts, which it has, too. Whatever
other processes do to the chat meanwhile, it learns like every open stream: by hints and polls.

Noting a turn costs 1 us, and it saves a statement for a stream. The benchmark ``turns`` watches it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from chatd.domain.journal import JournalEntry
from chatd.domain.transitions import Transition

_MAX_TURNS: Final = 1024
"""Turns that are known, the oldest out first: most streams are opened within the first second."""
_MAX_BYTES: Final = 65_536
"""Bytes of the entries of one turn. Larger ones are read."""


class BegunTurn(NamedTuple):
    """The entries that began a turn, up to that of the claim, and the owner of their chat."""

    owner_id: str
    entries: Sequence[JournalEntry]

    @property
    def claim(self) -> JournalEntry:
        """The entry of the claim."""
        return self.entries[-1]


class BegunTurns:
    """The turns of leased chats that have stored nothing since they were claimed."""

    def __init__(self) -> None:
        self._turns: OrderedDict[UUID, BegunTurn] = OrderedDict()

    def note(self, entries: Sequence[JournalEntry], owner_id: str) -> None:
        """Note the entries that one statement of this process appended to a chat of this owner."""
        claim = entries[-1]
        self._turns.pop(claim.chat_id, None)
        if claim.transition is not Transition.CLAIM:
            return
        if sum([entry.size for entry in entries]) <= _MAX_BYTES:
            self._turns[claim.chat_id] = BegunTurn(owner_id, entries)
            if len(self._turns) > _MAX_TURNS:
                self._turns.popitem(last=False)

    def forget(self, chat_id: UUID) -> None:
        """Forget the turn of a chat, which another process changed, or which is not leased any more."""
        self._turns.pop(chat_id, None)

    def forget_all(self) -> None:
        """Forget all turns, because hints may have been missed."""
        self._turns.clear()

    def after(self, chat_id: UUID, version: int, *, owner_id: str | None) -> BegunTurn | None:
        """Return the turn of a chat of this owner (None: of any), if it has all entries after a version."""
        turn = self._turns.get(chat_id)
        if turn is None or owner_id not in {None, turn.owner_id}:
            return None
        if not turn.entries[0].version - 1 <= version <= turn.claim.version:
            return None
        return turn
