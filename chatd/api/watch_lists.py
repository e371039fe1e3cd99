"""The watch over lists: one batched read for all lists that are followed in this process.

Any move of anybody may be one on a list that is watched, so every hint is a reason to look; those that
come close together are one reason. Without viewers nothing is read.
"""

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.live.lists import ListHub
from chatd.store.lists import ChatLists
from chatd.supervision.actor import ChildHandle
from chatd.supervision.outage import Outage


class ListWatch:
    """Reads when there was a hint, at most once in ``batch_window_seconds``, and every ``poll_seconds``."""

    def __init__(
        self,
        hub: ListHub,
        lists: ChatLists,
        *,
        poll_seconds: float = 1.0,
        gather_seconds: float = 0.05,
    ) -> None:
        self._hub = hub
        self._lists = lists
        self._poll_seconds = poll_seconds
        self._gather_seconds = gather_seconds
        self._woken = anyio.Event()
        hub.on_stale = self.wake

    def wake(self) -> None:
        self._woken.set()

    async def step(self) -> bool:
        """Read what is new in all lists; True when there is more."""
        places = self._hub.pending_reads()
        if not places:
            return False
        return self._hub.apply_read(places, await self._lists.changed_since(places))

    async def run(self, child: ChildHandle) -> None:
        outage = Outage(child, expected=(DatabaseUnavailable,))
        child.ready()
        while not child.stopping.is_set():
            self._woken = anyio.Event()
            more = True  # an outage has had its wait already
            async with outage:
                more = await self.step()
            await child.pause(self._gather_seconds)
            if not more:
                await child.pause(self._poll_seconds, until=self._woken)
