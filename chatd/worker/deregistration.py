"""The last word of a process that stops in order: what it still owns goes back, and its row goes.

The runners have given their chats back by now. What is left was claimed by a statement whose answer
never came, or by a task that did not end in time.
"""

from collections.abc import Awaitable

import anyio
import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.fanout.change_bus import ChangeBus
from chatd.store.leases import Leases
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns
from chatd.supervision.child import ChildHandle

_log = structlog.get_logger()


class Deregistration:
    """Waits for the end, and sweeps then."""

    def __init__(
        self, leases: Leases, turns: Turns, change_bus: ChangeBus, *, timeout_seconds: float = 4.0
    ) -> None:
        self._leases = leases
        self._turns = turns
        self._change_bus = change_bus
        self._timeout_seconds = timeout_seconds

    async def step(self) -> int:
        """Give back what is still owned; returns how many chats that was."""
        owned = await self._leases.leased_chats()
        for chat in owned:
            if chat.status is Status.RUNNING:
                fence = FencingToken(chat.id, self._leases.worker_id, chat.epoch)
                await self._apply(self._turns.release(fence, reason="deregistration"))
        while left := await self._leases.own_interrupts():
            for one in left:
                await self._apply(
                    self._turns.reap_interrupt(
                        one.fence,
                        step=one.step,
                        messages=one.messages,
                        settled_part=one.settled_part,
                    )
                )
        await self._leases.deregister()
        return len(owned)

    async def _apply(self, transition: Awaitable[TransitionResult]) -> None:
        try:
            moved = await transition
        except LeaseLost:
            return
        self._change_bus.publish(moved.entry)

    async def run(self, child: ChildHandle) -> None:
        child.ready()
        await child.stopping.wait()
        with anyio.move_on_after(self._timeout_seconds):
            try:
                released = await self.step()
            except DatabaseUnavailable:
                _log.warning("worker.deregister_failed")
            else:
                _log.info("worker.deregistered", released=released)
