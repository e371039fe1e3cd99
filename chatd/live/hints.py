"""Who hears of a move: in this process at once, in others by way of the notifier."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.event import RESYNC, Hint, JournalEntry
from chatd.live.hub import Hub

Hear = Callable[[Hint], None]


class Hints:
    """Spread the word. Listeners must not block: they set an event, and look for themselves.

    Other processes are told at once, but for two things that go with the next hint, or after
    ``lazy_seconds``: that a chat is worked on, and that one is pending which this process claims
    itself (``claims_here``). So a short turn costs one hint, and wakes no acquirer in vain.
    """

    def __init__(self, hub: Hub, *, tell_others: Hear, lazy_seconds: float = 0.05) -> None:
        self._hub = hub
        self._tell_others = tell_others
        self._lazy_seconds = lazy_seconds
        self._listeners: list[Hear] = []
        self._untold: list[Hint] = []
        self._later: asyncio.TimerHandle | None = None
        self.claims_here: Callable[[], bool] = lambda: False
        """Whether this process claims what is pending: it may, and it has room."""

    def listen(self, listener: Hear) -> None:
        """Have ``listener`` called for every hint, of this process and of others."""
        self._listeners.append(listener)

    def moved(self, entry: JournalEntry | None) -> None:
        """A move of this process went through (None: nothing had to change)."""
        if entry is None:
            return
        self._hub.feed(entry)
        hint = Hint(entry.chat_id, entry.version, entry.status)
        self._untold.append(hint)
        if self._is_urgent(hint):
            self._tell()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(self._lazy_seconds, self._tell)
        for listener in self._listeners:
            listener(hint)

    def _is_urgent(self, hint: Hint) -> bool:
        if hint.status is Status.PENDING:
            return not self.claims_here()
        return hint.status is not Status.RUNNING

    def _tell(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        untold, self._untold = self._untold, []
        for hint in untold:
            self._tell_others(hint)

    def deleted(self, chat_id: UUID, version: int) -> None:
        """A chat is gone, whose last version was this one: no status of its own, but not running."""
        self._hub.gone(chat_id)
        hint = Hint(chat_id, version + 1, Status.WAITING)
        self._untold.append(hint)
        self._tell()
        for listener in self._listeners:
            listener(hint)

    def flushed(self, chat_id: UUID) -> None:
        """Parts of a chat were stored: viewers on other replicas can read them."""
        self._untold.append(Hint(chat_id, 0))
        self._tell()

    def heard(self, hint: Hint) -> None:
        """Another process says so."""
        self._hub.hint(hint.chat_id, hint.version if hint.status else None)
        for listener in self._listeners:
            listener(hint)

    def deaf(self) -> None:
        """Hints may have been missed: look at everything once."""
        self._hub.doubt()
        for listener in self._listeners:
            listener(RESYNC)
