"""The parts flusher: what local steps stream is stored now and then, for viewers elsewhere.

One statement a tick for all chats of the process. A step that ends between two ticks is never
flushed at all: its message says everything.
"""

from uuid import UUID

from chatd.domain.errors import DatabaseUnavailable
from chatd.live.hints import Hints
from chatd.live.topic import Preview
from chatd.store.streams import PartBatch, StreamStore
from chatd.supervision.actor import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import StreamMetrics
from chatd.work.hand import now


class Flusher:
    """Knows the running steps of this process, and how much of each is stored."""

    def __init__(
        self,
        streams: StreamStore,
        hints: Hints,
        *,
        flush_seconds: float = 0.1,
        flush_bytes: int = 4096,
        metrics: StreamMetrics | None = None,
    ) -> None:
        self._metrics = metrics or StreamMetrics()
        self._waiting_since: float | None = None
        self._streams = streams
        self._hints = hints
        self._flush_bytes = flush_bytes
        self._unflushed_bytes = 0
        self._steps: dict[UUID, tuple[Preview, int]] = {}
        self._loop = Periodic(
            self.step, interval_seconds=flush_seconds, expected_errors=(DatabaseUnavailable,)
        )

    def watch(self, chat_id: UUID, preview: Preview) -> None:
        """A step starts; not one of an owner that was fenced and does not know it yet."""
        known = self._steps.get(chat_id)
        if known is None or known[0].epoch <= preview.epoch:
            self._steps[chat_id] = (preview, preview.base)

    def streamed(self, size: int) -> None:
        """So many more bytes wait; past ``flush_bytes`` they do not wait for the tick."""
        if self._waiting_since is None:
            self._waiting_since = now()
        self._unflushed_bytes += size
        if self._unflushed_bytes >= self._flush_bytes:
            self._unflushed_bytes = 0
            self._loop.wake()

    def forget(self, chat_id: UUID, *, epoch: int) -> None:
        """The step of this epoch is about to be stored, or thrown away."""
        known = self._steps.get(chat_id)
        if known is not None and known[0].epoch <= epoch:
            del self._steps[chat_id]

    async def step(self) -> None:
        """Store what is new, of all steps at once."""
        self._unflushed_bytes = 0
        since, self._waiting_since = self._waiting_since, None
        batches = [
            PartBatch(chat_id, preview.epoch, flushed + 1, preview.after(flushed))
            for chat_id, (preview, flushed) in self._steps.items()
            if preview.last > flushed
        ]
        if not batches:
            return
        await self._streams.flush_parts(batches)
        self._metrics.parts_flushed.add(amount=sum(len(batch.parts) for batch in batches))
        if since is not None:
            self._metrics.flush_delay.observe(now() - since)
        for batch in batches:
            known = self._steps.get(batch.chat_id)
            if known is not None and known[0].epoch == batch.epoch and known[1] < batch.last_part:
                self._steps[batch.chat_id] = (known[0], max(known[1], batch.last_part))
            self._hints.flushed(batch.chat_id)

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
