"""The lease of this worker, as far as it knows."""

from math import inf

import anyio

from chatd.worker.clock import boottime


class WorkerLease:
    """The lease that all chats of this worker share. The heartbeat renews it.

    ``renewed_at`` is when the statement that last renewed it was *sent*. It is valid for
    ``local_lease_seconds`` from then, which is less than other workers wait before they reap its chats.

    It is *held* while the heartbeat has its connection, with the worker's lock if the session is its own,
    and has renewed the lease by it. While it is not held, another worker may be about to take the chats,
    and a stop may have been requested, so nothing begins that must not happen twice.
    """

    def __init__(self, *, local_lease_seconds: float) -> None:
        self.local_lease_seconds = local_lease_seconds
        self.renewed_at = -inf
        self._held = anyio.Event()

    @property
    def held(self) -> bool:
        """True if chats may be claimed and model calls may begin."""
        return self._held.is_set() and self.remaining_seconds > 0

    @property
    def remaining_seconds(self) -> float:
        """Seconds for which no other worker can reap a chat of this one. Negative: the lease is over."""
        return self.renewed_at + self.local_lease_seconds - boottime()

    async def wait_until_held(self) -> None:
        """Wait until the heartbeat has its connection and has renewed the lease by it."""
        if not self._held.is_set():  # a set event makes the caller wait for the loop
            await self._held.wait()

    def renewed(self, sent_at: float) -> None:
        """Record a renewal that was sent at ``sent_at``."""
        self.renewed_at = sent_at
        self._held.set()

    def interrupted(self) -> None:
        """Record that the heartbeat has lost its connection."""
        if self._held.is_set():
            self._held = anyio.Event()
