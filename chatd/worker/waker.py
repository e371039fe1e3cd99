"""Waker: makes parked chats pending once what they wait for is there."""

from typing import Final
from uuid import UUID

import structlog

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.children import Children, PagePlace
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_log = structlog.get_logger()

_MAX_FAMILIES: Final = 1000
"""Families that are remembered until the next step. A sweep finds the others."""
_FAMILIES_AT_ONCE: Final = 50
_WOKEN_AT_ONCE: Final = 25
_IDLE_SECONDS: Final = 60.0
"""Interval of steps that nothing asks for. They cost no statement."""


class Waker:
    """Actor that looks at the parked chats of a family of which a chat has become idle.

    It hears of those whose end this process stores. A sweep finds the others: the reaper of each process
    requests one after each look that finds a parked chat.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
        self._families: dict[UUID, None] = {}
        self._sweeps = False
        self._place: PagePlace | None = None
        self._loop = Periodic(
            self.step, interval_seconds=_IDLE_SECONDS, expected_errors=(DatabaseUnavailable,)
        )

    def handle_family(self, root_id: UUID) -> None:
        """Look at the parked chats of a family soon."""
        if len(self._families) < _MAX_FAMILIES:
            self._families[root_id] = None
        self._loop.wake()

    def request_sweep(self) -> None:
        """Look at a page of all parked chats soon, and at those whose time is over."""
        self._sweeps = True
        self._loop.wake()

    async def step(self) -> bool:
        """Wake what may go on. Return True if there may be more."""
        families, sweeps = [*self._families][:_FAMILIES_AT_ONCE], self._sweeps
        if not families and not sweeps:
            return False
        for root_id in families:
            del self._families[root_id]
        self._sweeps = False
        woken = await self._children.wake(
            families, sweeps=sweeps, after=self._place, limit=_WOKEN_AT_ONCE
        )
        if len(woken.chats) == _WOKEN_AT_ONCE:
            self._families |= dict.fromkeys(families)
            self._sweeps |= sweeps
        elif sweeps:
            self._place = woken.place
        for result in woken.chats:
            assert result.entry is not None  # noqa: S101 - each is journaled
            with structlog.contextvars.bound_contextvars(
                chat_id=result.chat.id, epoch=result.chat.epoch
            ):
                _log.info("chat.woken", timed_out=result.entry.data["timed_out"])
        return bool(self._families) or self._sweeps

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` when there is something to do, until the stop."""
        await self._loop.run(child)
