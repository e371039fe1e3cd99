"""The parts flusher: what local steps stream is stored now and then, for viewers elsewhere.

One statement a tick for all chats of the process. A step that ends between two ticks is never
flushed at all: its message says everything.
"""

from uuid import UUID

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.topic import Preview
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import StreamMetrics
from chatd.worker.clock import boottime


class Flusher:
    """Knows the running steps of this process, and how much of each is stored."""

    def __init__(
        self,
        streams: StreamStore,
        change_bus: ChangeBus,
        *,
        flush_interval_seconds: float,
        flush_bytes: int,
        metrics: StreamMetrics | None = None,
    ) -> None:
        self._metrics = metrics or StreamMetrics()
        self._unflushed_since: float | None = None
        self._streams = streams
        self._change_bus = change_bus
        self._flush_bytes = flush_bytes
        self._unflushed_bytes = 0
        self._steps: dict[UUID, tuple[Preview, int]] = {}
        self._loop = Periodic(
            self.step,
            interval_seconds=flush_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    def track(self, chat_id: UUID, preview: Preview) -> None:
        """A step starts; not one of an owner that was fenced and does not know it yet."""
        known = self._steps.get(chat_id)
        if known is None or known[0].epoch <= preview.epoch:
            self._steps[chat_id] = (preview, preview.base)

    def add_bytes(self, size: int) -> None:
        """So many more bytes wait; past ``flush_bytes`` they do not wait for the tick."""
        if self._unflushed_since is None:
            self._unflushed_since = boottime()
        self._unflushed_bytes += size
        if self._unflushed_bytes >= self._flush_bytes:
            self._unflushed_bytes = 0
            self._loop.wake()

    def untrack(self, chat_id: UUID, *, epoch: int) -> None:
        """The step of this epoch is about to be stored, or thrown away."""
        known = self._steps.get(chat_id)
        if known is not None and known[0].epoch <= epoch:
            del self._steps[chat_id]

    async def step(self) -> None:
        """Store what is new, of all steps at once."""
        self._unflushed_bytes = 0
        since, self._unflushed_since = self._unflushed_since, None
        batches = [
            PartBatch(chat_id, preview.epoch, flushed + 1, preview.parts_after(flushed))
            for chat_id, (preview, flushed) in self._steps.items()
            if preview.last_part > flushed
        ]
        if not batches:
            return
        await self._streams.flush_parts(batches)
        self._metrics.parts_flushed.add(amount=sum(len(batch.parts) for batch in batches))
        if since is not None:
            self._metrics.flush_delay.observe(boottime() - since)
        for batch in batches:
            known = self._steps.get(batch.chat_id)
            if known is not None and known[0].epoch == batch.epoch and known[1] < batch.last_part:
                self._steps[batch.chat_id] = (known[0], max(known[1], batch.last_part))
            self._change_bus.publish_parts(batch.chat_id)

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
