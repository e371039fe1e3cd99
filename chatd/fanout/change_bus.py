"""The change bus: publishes committed changes inside this process, and notifies the other replicas.

A commit costs some 10 us here, a running chat no NOTIFY of its own. The benchmarks ``turns`` and ``wake``
watch it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.hint import RESYNC, Hint, hash_owner
from chatd.domain.journal import JournalEntry
from chatd.fanout.hub import ChatHub

HintListener = Callable[[Hint], None]

_COALESCE_SECONDS: Final = 0.05


class ChangeBus:
    """Publisher of changes. Listeners must not block: they set an event, and read for themselves.

    Other replicas are notified at once, with two exceptions that go with the next hint or after
    ``coalesce_seconds``: a chat that is running, and a pending chat that this process claims itself
    (``claims_locally``). So a short turn costs one hint, and wakes no claimer in vain.
    """

    def __init__(
        self,
        hub: ChatHub,
        *,
        notify_replicas: HintListener,
        coalesce_seconds: float = _COALESCE_SECONDS,
    ) -> None:
        self._hub = hub
        self._notify_replicas = notify_replicas
        self._coalesce_seconds = coalesce_seconds
        self._listeners: list[HintListener] = []
        self._pending: list[Hint] = []
        self._send_timer: asyncio.TimerHandle | None = None
        self.claims_locally: Callable[[], bool] = lambda: False
        """Return whether this process claims pending chats: it may, and has free slots."""
        self.on_family_idle: Callable[[UUID], None] = lambda _: None
        """Called with the root of each family of which a chat may wait no longer for another."""

    def subscribe(self, listener: HintListener) -> None:
        """Call ``listener`` for every hint, of this process and of others."""
        self._listeners.append(listener)

    def publish(self, entries: Sequence[JournalEntry], owner_id: str) -> None:
        """Publish the transitions of one commit of this process, of a chat of this owner.

        Hints tell of the last one: a chat that is claimed already is announced to no claimer.
        """
        self._hub.begun_turns.note(entries, owner_id)
        for entry in entries:
            self._hub.publish(entry)
        last = entries[-1]
        hint = Hint(last.chat_id, last.version, last.status, hash_owner(owner_id))
        self._pending.append(hint)
        if self._is_urgent(hint):
            self._send_pending()
        elif self._send_timer is None:
            self._send_timer = asyncio.get_running_loop().call_later(
                self._coalesce_seconds, self._send_pending
            )
        self._call_listeners(hint)

    def publish_admitted(self, chat_id: UUID, version: int, owner_id: str) -> None:
        """Publish that a chat of this owner, which was held, may be claimed now."""
        hint = Hint(chat_id, version, Status.PENDING, hash_owner(owner_id))
        self._pending.append(hint)
        self._send_pending()
        self._call_listeners(hint)

    def publish_deleted(self, chat_id: UUID, version: int, owner_id: str) -> None:
        """Publish that a chat of this owner was deleted, whose last version was ``version``."""
        self._hub.mark_deleted(chat_id)
        # A deleted chat has no status. Any that is not RUNNING has workers and lists look at it.
        hint = Hint(chat_id, version + 1, Status.WAITING, hash_owner(owner_id))
        self._pending.append(hint)
        self._send_pending()
        self._call_listeners(hint)

    def publish_family_idle(self, root_id: UUID) -> None:
        """Publish that a chat of a family may wait no longer. Other processes sweep for it."""
        self.on_family_idle(root_id)

    def publish_parts(self, chat_id: UUID) -> None:
        """Publish that live parts of a chat were stored, so that other replicas can read them."""
        self._pending.append(Hint(chat_id, 0))
        self._send_pending()

    def receive(self, hint: Hint) -> None:
        """Pass on a hint of another process."""
        self._hub.handle_hint(hint.chat_id, hint.version if hint.status else None)
        self._call_listeners(hint)

    def resync(self) -> None:
        """Have everything checked once, because hints may have been missed."""
        self._hub.mark_all_stale()
        self._call_listeners(RESYNC)

    def _is_urgent(self, hint: Hint) -> bool:
        if hint.status is Status.PENDING:
            return not self.claims_locally()
        return hint.status is not Status.RUNNING

    def _send_pending(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        pending, self._pending = self._pending, []
        for hint in pending:
            self._notify_replicas(hint)

    def _call_listeners(self, hint: Hint) -> None:
        for listener in self._listeners:
            listener(hint)
