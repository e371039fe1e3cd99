"""Flusher: stores streamed parts in batches, for subscribers of other replicas.

One statement per flush serves all chats of the process. A step that ends between two flushes is never
flushed: its message holds everything.
"""

from operator import attrgetter
from uuid import UUID

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.topic import Preview
from chatd.store.containment import Containment
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import ContainmentMetrics, StreamMetrics
from chatd.worker.clock import boottime


class Flusher:
    """Actor that stores the new parts of all running steps every ``flush_interval_seconds``.

    ``flush_bytes`` of new text make it flush early.
    """

    def __init__(
        self,
        streams: StreamStore,
        *,
        flush_interval_seconds: float,
        flush_bytes: int,
        metrics: StreamMetrics | None = None,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID](
            "flusher", containment_metrics, on_cut=self._stop_tracking
        )
        self._metrics = metrics or StreamMetrics()
        self._unflushed_since: float | None = None
        self._streams = streams
        self._flush_bytes = flush_bytes
        self._unflushed_bytes = 0
        self._steps: dict[UUID, tuple[Preview, int]] = {}
        self._loop = Periodic(
            self.step,
            interval_seconds=flush_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    def track(self, chat_id: UUID, preview: Preview) -> None:
        """Flush the parts of this step from now on, unless a newer epoch is tracked already."""
        tracked = self._steps.get(chat_id)
        if tracked is None or tracked[0].epoch <= preview.epoch:
            self._steps[chat_id] = (preview, preview.base)

    def add_bytes(self, size: int) -> None:
        """Record ``size`` new bytes, and flush early if ``flush_bytes`` are waiting."""
        if self._unflushed_since is None:
            self._unflushed_since = boottime()
        self._unflushed_bytes += size
        if self._unflushed_bytes >= self._flush_bytes:
            self._unflushed_bytes = 0
            self._loop.wake()

    def untrack(self, chat_id: UUID, *, epoch: int) -> None:
        """Stop flushing the step of this epoch: it is about to be stored or discarded."""
        tracked = self._steps.get(chat_id)
        if tracked is not None and tracked[0].epoch <= epoch:
            del self._steps[chat_id]

    def _stop_tracking(self, chat_id: UUID) -> None:
        """Leave the rest of a step to its message: parts of it cannot be stored."""
        self._steps.pop(chat_id, None)

    async def step(self) -> None:
        """Store the new parts of all steps in one statement."""
        self._unflushed_bytes = 0
        since, self._unflushed_since = self._unflushed_since, None
        batches = [
            PartBatch(chat_id, preview.epoch, flushed + 1, preview.parts_after(flushed))
            for chat_id, (preview, flushed) in self._steps.items()
            if preview.last_part > flushed
        ]
        if not batches:
            return
        await self._containment.run(batches, self._streams.flush_parts, key=attrgetter("chat_id"))
        self._metrics.parts_flushed.add(amount=sum(len(batch.parts) for batch in batches))
        if since is not None:
            self._metrics.flush_delay.observe(boottime() - since)
        for batch in batches:
            preview, flushed = self._steps.get(batch.chat_id, (None, 0))
            if preview is not None and preview.epoch == batch.epoch and flushed < batch.last_part:
                self._steps[batch.chat_id] = (preview, batch.last_part)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
