"""Who hears of a move: in this process at once, in others by way of the notifier."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.hint import RESYNC, Hint
from chatd.domain.journal import JournalEntry
from chatd.fanout.hub import ChatHub

HintListener = Callable[[Hint], None]


class ChangeBus:
    """Spread the word. Listeners must not block: they set an event, and look for themselves.

    Other processes are told at once, but for two things that go with the next hint, or after
    ``coalesce_seconds``: that a chat is worked on, and that one is pending which this process claims
    itself (``claims_locally``). So a short turn costs one hint, and wakes no acquirer in vain.
    """

    def __init__(
        self, hub: ChatHub, *, notify_replicas: HintListener, coalesce_seconds: float = 0.05
    ) -> None:
        self._hub = hub
        self._notify_replicas = notify_replicas
        self._coalesce_seconds = coalesce_seconds
        self._listeners: list[HintListener] = []
        self._pending: list[Hint] = []
        self._send_timer: asyncio.TimerHandle | None = None
        self.claims_locally: Callable[[], bool] = lambda: False
        """Whether this process claims what is pending: it may, and it has room."""

    def subscribe(self, listener: HintListener) -> None:
        """Have ``listener`` called for every hint, of this process and of others."""
        self._listeners.append(listener)

    def publish(self, entry: JournalEntry | None) -> None:
        """A move of this process went through (None: nothing had to change)."""
        if entry is None:
            return
        self._hub.publish(entry)
        hint = Hint(entry.chat_id, entry.version, entry.status)
        self._pending.append(hint)
        if self._is_urgent(hint):
            self._send_pending()
        elif self._send_timer is None:
            self._send_timer = asyncio.get_running_loop().call_later(
                self._coalesce_seconds, self._send_pending
            )
        for listener in self._listeners:
            listener(hint)

    def _is_urgent(self, hint: Hint) -> bool:
        if hint.status is Status.PENDING:
            return not self.claims_locally()
        return hint.status is not Status.RUNNING

    def _send_pending(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        untold, self._pending = self._pending, []
        for hint in untold:
            self._notify_replicas(hint)

    def publish_deleted(self, chat_id: UUID, version: int) -> None:
        """A chat is gone, whose last version was this one: no status of its own, but not running."""
        self._hub.mark_deleted(chat_id)
        hint = Hint(chat_id, version + 1, Status.WAITING)
        self._pending.append(hint)
        self._send_pending()
        for listener in self._listeners:
            listener(hint)

    def publish_parts(self, chat_id: UUID) -> None:
        """Parts of a chat were stored: viewers on other replicas can read them."""
        self._pending.append(Hint(chat_id, 0))
        self._send_pending()

    def receive(self, hint: Hint) -> None:
        """Another process says so."""
        self._hub.handle_hint(hint.chat_id, hint.version if hint.status else None)
        for listener in self._listeners:
            listener(hint)

    def resync(self) -> None:
        """Hints may have been missed: look at everything once."""
        self._hub.mark_all_stale()
        for listener in self._listeners:
            listener(RESYNC)
