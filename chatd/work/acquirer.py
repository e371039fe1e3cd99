"""The acquirer: claims pending chats while there is room for them."""

from collections.abc import Callable

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseAway
from chatd.domain.event import Hint
from chatd.store.leases import Leases
from chatd.supervision.actor import Child
from chatd.supervision.periodic import Periodic
from chatd.work.hand import now
from chatd.work.roster import Roster


class Acquirer:
    """Woken by a hint that a chat is pending; polls every ``poll_seconds`` as the safety net."""

    def __init__(
        self,
        leases: Leases,
        roster: Roster,
        *,
        may_claim: Callable[[], bool],
        poll_seconds: float = 1.0,
    ) -> None:
        self._leases = leases
        self._roster = roster
        self._may_claim = may_claim
        self._loop = Periodic(self.step, every_seconds=poll_seconds, outages=(DatabaseAway,))

    def hint(self, hint: Hint) -> None:
        """A chat moved, somewhere; version 0 without a status: hints may have been missed."""
        if hint.status is Status.PENDING or (hint.status is None and hint.chat_id.int == 0):
            self._loop.wake()

    def wake(self) -> None:
        """There is room, or work."""
        self._loop.wake()

    async def step(self) -> bool:
        """Claim what there is room for; True when there may be more."""
        room = self._roster.room
        if room <= 0 or not self._may_claim():
            return False
        sent_at = now()
        claims = await self._leases.acquire(room)
        for claim in claims:
            self._roster.take(claim, renewed_at=sent_at)
        return len(claims) == room and self._roster.room > 0

    async def run(self, child: Child) -> None:
        await self._loop.run(child)
