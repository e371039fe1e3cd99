"""Notifier: sends hints to other processes, in batches, after the changes that they announce.

A turn costs at most one NOTIFY, which all turns of one moment share. The benchmark ``turns`` watches it.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final
from uuid import UUID

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import Hint
from chatd.store import sql
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage
from chatd.telemetry.metrics import ContainmentMetrics, NotificationMetrics

_Q = sql.load("notifications")
_IDLE_SECONDS: Final = 3600.0
"""Upper bound of a wait that ends with the next hint."""


class Notifier:
    """Actor that sends the newest hint of each chat."""

    def __init__(
        self,
        database: Database,
        *,
        sender: str,
        batch_window_seconds: float = 0.02,
        max_batch_size: int = 500,
        metrics: NotificationMetrics | None = None,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("notifier", containment_metrics)
        self._database = database
        self._metrics = metrics or NotificationMetrics()
        self._sender = sender
        self._batch_window_seconds = batch_window_seconds
        self._max_batch_size = max_batch_size
        self._pending: dict[tuple[str, bool], Hint] = {}
        self._wake_event = anyio.Event()

    def enqueue(self, hint: Hint) -> None:
        """Send ``hint`` soon, unless a newer one of the chat is waiting."""
        key = (str(hint.chat_id), hint.status is None)
        known = self._pending.get(key)
        if known is None or known.version <= hint.version:
            self._pending[key] = hint
        self._wake_event.set()

    async def step(self) -> None:
        """Send the waiting hints in one statement. If that fails, polls find the changes."""
        hints = [self._pending.pop(key) for key in list(self._pending)[: self._max_batch_size]]
        await self._containment.run(hints, self._send, key=attrgetter("chat_id"))

    async def _send(self, hints: Sequence[Hint]) -> None:
        await self._database.fetch(
            _Q["notify"], payloads=[encode_payload(hint, self._sender) for hint in hints]
        )
        self._metrics.sent.add(amount=len(hints))

    async def run(self, child: ChildHandle) -> None:
        """Send hints until the stop, and then the remaining ones."""
        outage = Outage(child, expected=(DatabaseUnavailable,))
        child.ready()
        while not child.stopping.is_set() or self._pending:
            async with outage:
                await self.step()
            if child.stopping.is_set():
                continue
            # The first hint after a pause is sent at once. A series is sent in batches, 50 a second.
            await child.pause(self._batch_window_seconds)
            if not self._pending:
                self._wake_event = anyio.Event()
                await child.pause(_IDLE_SECONDS, until=self._wake_event)


def encode_payload(hint: Hint, sender: str) -> str:
    """Return the payload that announces ``hint``."""
    owner = "-" if hint.owner_hash is None else f"{hint.owner_hash:x}"
    return f"{sender} {hint.chat_id} {hint.version} {hint.status or '-'} {owner}"
