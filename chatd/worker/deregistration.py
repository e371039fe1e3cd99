"""Orderly shutdown: release the leases this worker still holds, then delete its ``workers`` row.

The tasks have released their chats before. What is left was claimed by a statement whose response was lost,
or belongs to a task that did not end in time.
"""

from contextlib import suppress

import anyio
import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.store.commands import Release
from chatd.store.leases import Leases
from chatd.store.reaps import Reaps, ReapTarget
from chatd.store.turns import FencingToken, Turns
from chatd.store.worker_command import WorkerCommand
from chatd.supervision.child import ChildHandle

_log = structlog.get_logger()

_TIMEOUT_SECONDS = 4.0
"""Less than the supervisor allows: an orderly end is better than a cancelled one."""


class Deregistration:
    """Actor that waits for the stop and then deregisters the worker."""

    def __init__(self, leases: Leases, reaps: Reaps, turns: Turns) -> None:
        self._leases = leases
        self._reaps = reaps
        self._turns = turns

    async def step(self) -> int:
        """Release what is still leased and deregister. Return the number of released chats."""
        leased = await self._leases.leased_chats()
        for chat in leased:
            if chat.status is Status.RUNNING:
                fence = FencingToken(chat.id, self._leases.worker_id, chat.epoch)
                await self._apply(
                    fence, Release(step=chat.committed_steps, reason="deregistration")
                )
        targets = [
            ReapTarget(
                self._leases.worker_id, ReapReason.INTERRUPTING, chat_id=chat.id, epoch=chat.epoch
            )
            for chat in await self._leases.leased_chats()
        ]
        for interrupt in await self._reaps.orphaned_interrupts(targets, limit=len(targets)):
            await self._apply(interrupt.fence, interrupt.command)
        await self._leases.deregister()
        return len(leased)

    async def _apply(self, fence: FencingToken, command: WorkerCommand) -> None:
        with suppress(LeaseLost), self._reaps.containment.guard(fence.chat_id):
            await self._turns.apply(fence, command)

    async def run(self, child: ChildHandle) -> None:
        """Wait for the stop, and deregister then."""
        child.ready()
        await child.stopping.wait()
        with anyio.move_on_after(_TIMEOUT_SECONDS):
            try:
                released = await self.step()
            except DatabaseUnavailable:
                _log.warning("worker.deregister_failed")
            else:
                _log.info("worker.deregistered", released=released)
