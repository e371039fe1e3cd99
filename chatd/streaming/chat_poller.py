"""The watch: one batched read for all streams of this process.

It reads the topics that are behind when a hint comes, and all of them every ``poll_seconds``, so that
a hint that never comes costs latency and nothing else.
"""

from collections.abc import Sequence
from uuid import UUID

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.hub import ChatHub
from chatd.store.stream_reads import ChatUpdates, StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import NotificationMetrics

_POLL_TOLERANCE = 0.9
"""A poll may come this much before its time: the loop's interval has jitter."""


_NEVER = float("-inf")


class ChatStreamPoller:
    """Feeds the hub from the journal."""

    def __init__(
        self,
        hub: ChatHub,
        stream_reads: StreamStore,
        *,
        poll_seconds: float = 1.0,
        metrics: NotificationMetrics | None = None,
    ) -> None:
        self._missed = (metrics or NotificationMetrics()).missed
        self._unannounced: list[tuple[UUID, int]] = []
        self._hub = hub
        self._stream_reads = stream_reads
        self._poll_seconds = poll_seconds
        self._polled_at = _NEVER
        self._loop = Periodic(
            self.step, interval_seconds=poll_seconds, expected_errors=(DatabaseUnavailable,)
        )
        hub.on_stale = self._loop.wake

    async def step(self) -> None:
        """Read what is new: in the topics that are behind, or in all when it is time to poll."""
        now, polled_at = anyio.current_time(), self._polled_at
        everything = now - polled_at >= self._poll_seconds * _POLL_TOLERANCE
        places = self._hub.stale_topics(all_topics=everything)
        if not places:
            return
        read_from = {chat_id: cursor.version for chat_id, cursor in places}
        # Until there is an answer: a read that fails leaves all to be read.
        self._polled_at = _NEVER
        found = await self._stream_reads.updates_since(places)
        self._polled_at = now if everything else polled_at
        if everything:
            self._count_missed(found)
        for news in found:
            if news.version is None:
                self._hub.mark_deleted(news.chat_id)
                continue
            self._hub.apply_read(
                news.chat_id,
                news.entries,
                after_version=read_from[news.chat_id],
                version=news.version,
                epoch=news.epoch,
                settled_part=news.settled_part,
                batches=((batch.first_part, batch.parts) for batch in news.batches),
            )

    def _count_missed(self, polled: Sequence[ChatUpdates]) -> None:
        """What a poll found before a hint came may be on its way; what is not here by the next was lost."""
        self._missed.add(
            "subscribed", amount=sum(self._hub.is_unannounced(*one) for one in self._unannounced)
        )
        self._unannounced = [
            (news.chat_id, news.version)
            for news in polled
            if news.version
            and news.entries
            and self._hub.is_unannounced(news.chat_id, news.version)
        ]

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
