"""The reaper: gives the chats of the dead back, so that somebody finishes them.

It does the same for chats whose client took too long to run its tools.

Dead owners are found twice: by their lock, within a second, when the process or its connection is
gone; by their lease, when a host vanished without a word. A wrong guess costs a turn that is begun anew,
and no more: the claim that follows raises the epoch, and what the old owner writes changes nothing.
"""

from collections.abc import Callable
from typing import TypedDict

import structlog

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.fanout.change_bus import ChangeBus
from chatd.store.leases import Leases
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import LeaseMetrics

_log = structlog.get_logger()


class _LivenessRule(TypedDict):
    """By what an owner counts as gone."""

    lease_seconds: float
    trust_free_locks: bool


class Reaper:
    """Looks every ``reap_interval_seconds``. Any number of replicas may do so at the same time."""

    def __init__(
        self,
        leases: Leases,
        turns: Turns,
        tool_calls: ToolCalls,
        change_bus: ChangeBus,
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
        self._change_bus = change_bus
        self._lease_seconds = lease_seconds
        self._max_recoveries = max_recoveries
        self._locks_reliable = locks_reliable
        self._loop = Periodic(
            self.step,
            interval_seconds=reap_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Reap once; True when there may be more."""
        gone = _LivenessRule(
            lease_seconds=self._lease_seconds, trust_free_locks=self._locks_reliable()
        )
        waiting = await self._leases.find_reapable(**gone)
        reaped = await self._reap(gone) if waiting.orphaned_running else False
        finished = await self._finish_interrupts(gone) if waiting.orphaned_interrupting else False
        expired = await self._expire_tool_calls() if waiting.action_overdue else False
        return reaped or finished or expired

    async def _reap(self, liveness: _LivenessRule) -> bool:
        """Running chats of the dead: pending again."""
        reaped = await self._leases.reap(**liveness, max_recoveries=self._max_recoveries)
        for moved in reaped:
            assert moved.entry is not None  # noqa: S101 - who was reaped has moved
            gave_up = moved.chat.status is Status.ERROR
            reason = ReapReason(moved.entry.data["reason"])
            self._metrics.reaps.add(reason)
            self._metrics.crash_loops.add(amount=gave_up)
            with structlog.contextvars.bound_contextvars(
                chat_id=moved.chat.id, epoch=moved.chat.epoch
            ):
                if gave_up:
                    assert moved.chat.last_error_detail is not None  # noqa: S101 - it has one
                    recoveries = moved.chat.last_error_detail["attempts"]
                    _log.error("chat.crash_loop", recoveries=recoveries, reason=reason.value)
                else:
                    _log.warning(
                        "chat.reaped", recoveries=moved.chat.recoveries, reason=reason.value
                    )
            self._change_bus.publish(moved.entry)
        return bool(reaped)

    async def _finish_interrupts(self, liveness: _LivenessRule) -> bool:
        """Interrupting chats of the dead: store what they had flushed."""
        abandoned = await self._leases.orphaned_interrupts(**liveness)
        for one in abandoned:
            try:
                moved = await self._turns.reap_interrupt(
                    one.fence, step=one.step, messages=one.messages, settled_part=one.settled_part
                )
            except LeaseLost:
                continue  # its owner, or another reaper, was quicker
            self._metrics.reaps.add(ReapReason.INTERRUPTING)
            with structlog.contextvars.bound_contextvars(
                chat_id=one.fence.chat_id, epoch=one.fence.epoch
            ):
                _log.warning(
                    "chat.reaped",
                    recoveries=moved.chat.recoveries,
                    reason=ReapReason.INTERRUPTING.value,
                )
            self._change_bus.publish(moved.entry)
        return bool(abandoned)

    async def _expire_tool_calls(self) -> bool:
        """Chats whose client took too long: the model is told so, and goes on."""
        expired = await self._tool_calls.expire()
        self._metrics.client_tool_timeouts.add(amount=len(expired))
        for moved in expired:
            with structlog.contextvars.bound_contextvars(
                chat_id=moved.chat.id, epoch=moved.chat.epoch
            ):
                _log.info("chat.action_expired")
            self._change_bus.publish(moved.entry)
        return bool(expired)

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
