"""The poller of chat lists: one batched read for all list streams of this process.

A hint names the owner whose list changed, and hints that arrive close together are one reason to read.
Polls find what hints missed. Without subscribers nothing is read.
"""

from collections import ChainMap
from operator import attrgetter
from typing import Final

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.list_hub import ListHub
from chatd.store.chat_lists import ChatLists
from chatd.store.containment import Containment
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage
from chatd.telemetry.metrics import ContainmentMetrics

_MIN_INTERVAL_SECONDS: Final = 0.05
"""Seconds between two reads, however many hints arrive."""
_POLL_TOLERANCE: Final = 0.9
"""Share of the interval after which a poll is due."""


class ChatListPoller:
    """An actor that reads changed chats for the list hub, after hints and every ``poll_seconds``."""

    def __init__(
        self,
        hub: ListHub,
        chat_lists: ChatLists,
        *,
        poll_seconds: float,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[str]("list poller", containment_metrics, on_cut=hub.cut)
        self._hub = hub
        self._chat_lists = chat_lists
        self._poll_seconds = poll_seconds
        self._wake_event = anyio.Event()
        self._polled_at = float("-inf")
        hub.on_stale = self.wake
        hub.refuses = self._containment.fails_again

    def wake(self) -> None:
        """Read soon."""
        self._wake_event.set()

    async def step(self) -> bool:
        """Read what changed in stale lists, and in others if a poll is due.

        Return whether there is more to read at once.
        """
        now = anyio.current_time()
        is_poll = now - self._polled_at >= self._poll_seconds * _POLL_TOLERANCE
        queries = self._hub.pending_reads(poll=is_poll)
        if is_poll:
            self._polled_at = now
        if not queries:
            return False
        try:
            found = await self._containment.run(
                queries, self._chat_lists.changed_since, key=attrgetter("owner_id")
            )
        except BaseException:
            self._hub.mark_stale([query.owner_id for query in queries])
            raise
        return self._hub.apply_read(queries, ChainMap(*map(dict, found)))

    async def run(self, child: ChildHandle) -> None:
        outage = Outage(child, expected=(DatabaseUnavailable,))
        child.ready()
        while not child.stopping.is_set():
            self._wake_event = anyio.Event()
            more = True  # After an outage, which has waited already, read at once.
            async with outage:
                more = await self.step()
            await child.pause(_MIN_INTERVAL_SECONDS)
            if not more:
                await child.pause(self._poll_seconds, until=self._wake_event)
