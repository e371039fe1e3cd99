"""The janitor: what is past its retention goes, a little at a time."""

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.chat_lists import ChatLists
from chatd.store.idempotency import IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.stream_reads import StreamStore
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic


class Janitor:
    """Sweeps every ``sweep_interval_seconds``."""

    def __init__(
        self,
        streams: StreamStore,
        leases: Leases,
        idempotency: IdempotencyStore,
        chat_lists: ChatLists,
        *,
        event_retention_days: float = 7.0,
        idempotency_retention_hours: float = 24.0,
        lease_seconds: float = 20.0,
        sweep_interval_seconds: float = 60.0,
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
            interval_seconds=sweep_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Sweep once; True when there may be more."""
        most = 5_000
        days = self._event_retention_days
        events = await self._streams.prune_journal(retention_days=days, limit=most)
        tombstones = await self._chat_lists.prune_tombstones(retention_days=days, limit=most)
        parts = await self._streams.prune_parts(limit=most)
        keys = await self._idempotency.prune(
            retention_hours=self._idempotency_retention_hours, limit=most
        )
        await self._leases.prune_workers(max_silence_seconds=self._worker_retention_seconds)
        return most in {events, tombstones, parts, keys}

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
