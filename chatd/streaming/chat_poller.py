"""The poller of chats: one batched read for all chat streams of this process.

It reads the chats that a hint names, and all subscribed chats every ``poll_seconds``, so a hint that
never arrives costs latency and nothing else.
"""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Final
from uuid import UUID

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.hub import ChatHub
from chatd.store.containment import Containment
from chatd.store.stream_reads import ChatUpdates, StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import ContainmentMetrics, NotificationMetrics

_POLL_TOLERANCE: Final = 0.9
"""Share of the interval after which a poll is due: the loop's interval has jitter."""

_NEVER: Final = float("-inf")


class ChatStreamPoller:
    """An actor that delivers journal entries and live parts of the database to the hub."""

    def __init__(
        self,
        hub: ChatHub,
        stream_reads: StreamStore,
        *,
        poll_seconds: float,
        metrics: NotificationMetrics | None = None,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("chat poller", containment_metrics, on_cut=hub.cut)
        self._hub = hub
        self._stream_reads = stream_reads
        self._poll_seconds = poll_seconds
        self._missed = (metrics or NotificationMetrics()).missed
        self._unannounced: list[tuple[UUID, int]] = []
        self._polled_at = _NEVER
        self._loop = Periodic(
            self.step, interval_seconds=poll_seconds, expected_errors=(DatabaseUnavailable,)
        )
        hub.on_stale = self._loop.wake
        hub.refuses = self._containment.fails_again

    async def step(self) -> None:
        """Read what is new in the stale chats, or in all subscribed chats when a poll is due."""
        now, polled_at = anyio.current_time(), self._polled_at
        is_poll = now - polled_at >= self._poll_seconds * _POLL_TOLERANCE
        positions = self._hub.stale_topics(all_topics=is_poll)
        if not positions:
            return
        self._polled_at = _NEVER  # If the read fails, the next step reads all chats.
        found = await self._containment.run(
            positions, self._stream_reads.updates_since, key=itemgetter(0)
        )
        updates = [*chain.from_iterable(found)]
        self._polled_at = now if is_poll else polled_at
        if is_poll:
            self._count_missed(updates)
        read_from = {chat_id: cursor.version for chat_id, cursor in positions}
        for update in updates:
            with self._containment.guard(update.chat_id):
                self._deliver(update, after_version=read_from[update.chat_id])

    def _deliver(self, update: ChatUpdates, *, after_version: int) -> None:
        if update.version is None:
            self._hub.mark_deleted(update.chat_id)
            return
        self._hub.apply_read(
            update.chat_id,
            update.entries,
            after_version=after_version,
            version=update.version,
            epoch=update.epoch,
            settled_part=update.settled_part,
            batches=((batch.first_part, batch.parts) for batch in update.batches),
        )

    def _count_missed(self, polled: Sequence[ChatUpdates]) -> None:
        """Count missed notifications.

        A version found by polling counts as missed if its notification has not arrived by the next poll.
        """
        missed = sum(self._hub.is_unannounced(*version) for version in self._unannounced)
        self._missed.add("subscribed", amount=missed)
        self._unannounced = [
            (update.chat_id, update.version)
            for update in polled
            if update.version
            and update.entries
            and self._hub.is_unannounced(update.chat_id, update.version)
        ]

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
