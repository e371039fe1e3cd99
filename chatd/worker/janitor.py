"""Janitor: deletes rows past their retention, in small batches."""

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.chat_lists import ChatLists
from chatd.store.idempotency import IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.stream_reads import StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_SWEEP_INTERVAL_SECONDS = 60.0
_BATCH_SIZE = 5_000
"""Rows of one kind that one sweep deletes at most, so that no statement takes long."""


class Janitor:
    """Actor that deletes what is past its retention, once a minute."""

    def __init__(
        self,
        streams: StreamStore,
        leases: Leases,
        idempotency: IdempotencyStore,
        chat_lists: ChatLists,
        *,
        event_retention_days: float,
        idempotency_retention_hours: float,
        lease_seconds: float,
    ) -> None:
        self._streams = streams
        self._leases = leases
        self._idempotency = idempotency
        self._chat_lists = chat_lists
        self._event_retention_days = event_retention_days
        self._idempotency_retention_hours = idempotency_retention_hours
        self._worker_retention_seconds = 10 * lease_seconds
        self._loop = Periodic(
            self.step,
            interval_seconds=_SWEEP_INTERVAL_SECONDS,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Delete one batch of each kind. Return True if there may be more."""
        days = self._event_retention_days
        events = await self._streams.prune_journal(retention_days=days, limit=_BATCH_SIZE)
        tombstones = await self._chat_lists.prune_tombstones(retention_days=days, limit=_BATCH_SIZE)
        parts = await self._streams.prune_parts(limit=_BATCH_SIZE)
        keys = await self._idempotency.prune(
            retention_hours=self._idempotency_retention_hours, limit=_BATCH_SIZE
        )
        await self._leases.prune_workers(max_silence_seconds=self._worker_retention_seconds)
        return _BATCH_SIZE in {events, tombstones, parts, keys}

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
