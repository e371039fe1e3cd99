"""The watch over lists: one batched read for all lists that are followed in this process.

Any move of anybody may be one on a list that is watched, so every hint is a reason to look; those that
come close together are one reason. Without viewers nothing is read.
"""

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.list_hub import ListHub
from chatd.store.chat_lists import ChatLists
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage


class ChatListPoller:
    """Reads when there was a hint, at most once in ``min_interval_seconds``, and every ``poll_seconds``."""

    def __init__(
        self,
        hub: ListHub,
        chat_lists: ChatLists,
        *,
        poll_seconds: float = 1.0,
        min_interval_seconds: float = 0.05,
    ) -> None:
        self._hub = hub
        self._chat_lists = chat_lists
        self._poll_seconds = poll_seconds
        self._min_interval_seconds = min_interval_seconds
        self._wake_event = anyio.Event()
        hub.on_stale = self.wake

    def wake(self) -> None:
        self._wake_event.set()

    async def step(self) -> bool:
        """Read what is new in all lists; True when there is more."""
        places = self._hub.pending_reads()
        if not places:
            return False
        return self._hub.apply_read(places, await self._chat_lists.changed_since(places))

    async def run(self, child: ChildHandle) -> None:
        outage = Outage(child, expected=(DatabaseUnavailable,))
        child.ready()
        while not child.stopping.is_set():
            self._wake_event = anyio.Event()
            more = True  # an outage has had its wait already
            async with outage:
                more = await self.step()
            await child.pause(self._min_interval_seconds)
            if not more:
                await child.pause(self._poll_seconds, until=self._wake_event)
