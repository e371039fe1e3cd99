"""Reaper: gives the chats of dead workers back to ``pending``, with errors cleared.

It does the same for chats whose client took too long to run its tools.

A dead worker is detected in two ways: by its free session lock, within a second, if the process or its
connection has ended; by its expired lease, if the host vanished. A wrong guess only costs a turn that
starts again: the next claim raises the epoch, and writes of the old worker change nothing.
"""

from collections.abc import Callable
from typing import TypedDict

import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.store.leases import Leases
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import LeaseMetrics

_log = structlog.get_logger()


class _LivenessRule(TypedDict):
    """The evidence by which a worker counts as dead."""

    lease_seconds: float
    trust_free_locks: bool


class Reaper:
    """Actor that reaps every ``reap_interval_seconds``. All replicas run one at the same time."""

    def __init__(
        self,
        leases: Leases,
        turns: Turns,
        tool_calls: ToolCalls,
        *,
        reap_interval_seconds: float,
        lease_seconds: float,
        max_recoveries: int,
        locks_reliable: Callable[[], bool] = lambda: True,
        metrics: LeaseMetrics | None = None,
    ) -> None:
        self._metrics = metrics or LeaseMetrics()
        self._leases = leases
        self._turns = turns
        self._tool_calls = tool_calls
        self._lease_seconds = lease_seconds
        self._max_recoveries = max_recoveries
        self._locks_reliable = locks_reliable
        self._loop = Periodic(
            self.step,
            interval_seconds=reap_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Reap once. Return True if there may be more."""
        liveness = _LivenessRule(
            lease_seconds=self._lease_seconds, trust_free_locks=self._locks_reliable()
        )
        reapable = await self._leases.find_reapable(**liveness)
        reaped = await self._reap(liveness) if reapable.orphaned_running else False
        finished = (
            await self._finish_interrupts(liveness) if reapable.orphaned_interrupting else False
        )
        expired = await self._expire_tool_calls() if reapable.action_overdue else False
        return reaped or finished or expired

    async def _reap(self, liveness: _LivenessRule) -> bool:
        """Give running chats of dead workers back to ``pending``, or to ``error`` after too many deaths."""
        reaped = await self._leases.reap(**liveness, max_recoveries=self._max_recoveries)
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

    async def _finish_interrupts(self, liveness: _LivenessRule) -> bool:
        """Finish the interrupts of dead workers: store what these had flushed."""
        orphans = await self._leases.orphaned_interrupts(**liveness)
        for orphan in orphans:
            try:
                result = await self._turns.apply(orphan.fence, orphan.command)
            except LeaseLost:
                continue  # its worker, or another reaper, was quicker
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
        """Answer overdue tool calls of clients with an error, so that the turn goes on."""
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
