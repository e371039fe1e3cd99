"""Reaper: gives the chats of dead workers back to ``pending``, with errors cleared.

It does the same for chats that its own worker gives up, and for chats whose client took too long to run its
tools.

A wrong guess only costs a turn that starts again: the next claim raises the epoch, and writes of the old
worker change nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.store.reaps import Reaps, ReapTarget
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import LeaseMetrics
from chatd.worker.clock import boottime
from chatd.worker.unheld_chats import UnheldChats
from chatd.worker.witness import Witness

_log = structlog.get_logger()


def _ignore() -> None:
    pass


class Reaper:
    """Actor that reaps every ``reap_interval_seconds``. All replicas run one at the same time.

    ``on_parked`` is called after each look that finds chats which wait for others. ``unheld`` are the chats
    that its own worker gives up. Free locks count only while ``sees_locks``:
    a process that lost its own session may be the first of several to come back.
    """

    def __init__(
        self,
        reaps: Reaps,
        turns: Turns,
        tool_calls: ToolCalls,
        *,
        reap_interval_seconds: float,
        lease_seconds: float,
        max_recoveries: int,
        sees_locks: Callable[[], bool],
        unheld: UnheldChats,
        on_parked: Callable[[], None] = _ignore,
        clock: Callable[[], float] = boottime,
        metrics: LeaseMetrics | None = None,
    ) -> None:
        self._metrics = metrics or LeaseMetrics()
        self._reaps = reaps
        self._turns = turns
        self._tool_calls = tool_calls
        self._lease_seconds = lease_seconds
        self._max_recoveries = max_recoveries
        self._sees_locks = sees_locks
        self._unheld = unheld
        self._on_parked = on_parked
        self._clock = clock
        self._witness = Witness()
        self._loop = Periodic(
            self.step,
            interval_seconds=reap_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Look and reap once. Return True if there may be more."""
        looked_at, sees_locks = self._clock(), self._sees_locks()
        look = await self._reaps.look(lease_seconds=self._lease_seconds)
        if look.parked:
            self._on_parked()
        sees_locks = sees_locks and self._sees_locks()
        dead = self._witness.judge(look.missing, at=looked_at, sees_locks=sees_locks)
        targets = [*dead, *self._own_chats()]
        reaped = finished = False
        if targets:
            reaped = await self._reap(targets)
            finished = await self._finish_interrupts(targets)
        expired = await self._expire_tool_calls() if look.action_overdue else False
        return reaped or finished or expired

    def _own_chats(self) -> list[ReapTarget]:
        return [
            ReapTarget(self._reaps.worker_id, reason, chat_id=chat_id, epoch=epoch)
            for (chat_id, epoch), reason in self._unheld.to_give_back()
        ]

    async def _reap(self, targets: Sequence[ReapTarget]) -> bool:
        """Give running chats of dead workers back to ``pending``, or to ``error`` after too many deaths."""
        reaped = await self._reaps.reap(targets, max_recoveries=self._max_recoveries)
        for result in reaped:
            assert result.entry is not None  # noqa: S101 - reap journals each chat
            gave_up = result.chat.status is Status.ERROR
            reason = ReapReason(result.entry.data["reason"])
            self._metrics.reaps.add(reason)
            self._metrics.crash_loops.add(amount=gave_up)
            with structlog.contextvars.bound_contextvars(
                chat_id=result.chat.id, epoch=result.chat.epoch
            ):
                if gave_up:
                    assert result.chat.last_error_detail is not None  # noqa: S101 - reap sets it
                    recoveries = result.chat.last_error_detail["attempts"]
                    _log.error("chat.crash_loop", recoveries=recoveries, reason=reason.value)
                else:
                    _log.warning(
                        "chat.reaped", recoveries=result.chat.recoveries, reason=reason.value
                    )
        return bool(reaped)

    async def _finish_interrupts(self, targets: Sequence[ReapTarget]) -> bool:
        """Finish the interrupts of dead workers: store what these had flushed."""
        orphans = await self._reaps.orphaned_interrupts(targets)
        for orphan in orphans:
            result = None
            with (
                suppress(LeaseLost),  # its worker, or another reaper, was quicker
                self._reaps.containment.guard(orphan.fence.chat_id),
            ):
                result = await self._turns.apply(orphan.fence, orphan.command)
            if result is None:
                continue
            self._metrics.reaps.add(ReapReason.INTERRUPTING)
            with structlog.contextvars.bound_contextvars(
                chat_id=orphan.fence.chat_id, epoch=orphan.fence.epoch
            ):
                _log.warning(
                    "chat.reaped",
                    recoveries=result.chat.recoveries,
                    reason=ReapReason.INTERRUPTING.value,
                )
        return bool(orphans)

    async def _expire_tool_calls(self) -> bool:
        """Answer overdue tool calls with an error. A turn goes on unless others are asked."""
        expired = await self._tool_calls.expire()
        self._metrics.client_tool_timeouts.add(amount=len(expired))
        for result in expired:
            with structlog.contextvars.bound_contextvars(
                chat_id=result.chat.id, epoch=result.chat.epoch
            ):
                _log.info("chat.action_expired")
        return bool(expired)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
