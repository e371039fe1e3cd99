"""Pending sweep: ends the wait of pending chats that no claim takes."""

from uuid import UUID

import structlog

from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.failure import FailureKind
from chatd.store.pending import PendingChats
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.worker.clock import boottime

_log = structlog.get_logger()

_REAP_INTERVALS = 5
"""Looks of the reaper between two sweeps. What a sweep mends is rare, and idle is to be idle."""


class PendingSweep:
    """Actor that admits held chats, and fails chats whose model no living worker has had for a while.

    A turn that ends admits the next held chat of its owner by itself. The sweep is for the others: after
    a raised limit, a chat that was stopped before it ran, or statements that crossed.

    A chat has to wait for ``unserved_model_seconds``, and this process has to find its model unserved for
    as long, so that neither a restart of all workers nor a rolling deploy that adds a model fails chats.
    """

    def __init__(
        self,
        pending: PendingChats,
        *,
        reap_interval_seconds: float,
        lease_seconds: float,
        unserved_model_seconds: float,
        metrics: TurnMetrics | None = None,
    ) -> None:
        self._pending = pending
        self._lease_seconds = lease_seconds
        self._grace_seconds = unserved_model_seconds
        self._metrics = metrics or TurnMetrics()
        self._unserved_since: dict[UUID, float] = {}
        self._after_owner = ""
        self._loop = Periodic(
            self.step,
            interval_seconds=_REAP_INTERVALS * reap_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Sweep once. Return True if there may be more."""
        admitted = await self._admit_held()
        return await self._fail_unserved() or admitted

    async def _admit_held(self) -> bool:
        result = await self._pending.admit_held(after_owner=self._after_owner)
        self._after_owner = result.last_owner or ""
        return result.count > 0 or result.last_owner is not None

    async def _fail_unserved(self) -> bool:
        now = boottime()
        unserved = await self._pending.unserved_models(
            lease_seconds=self._lease_seconds, grace_seconds=self._grace_seconds
        )
        self._unserved_since = {model: self._unserved_since.get(model, now) for model in unserved}
        overdue = [
            model
            for model, since in self._unserved_since.items()
            if now - since >= self._grace_seconds
        ]
        return bool(overdue) and await self._fail(overdue)

    async def _fail(self, models: list[UUID]) -> bool:
        failed = await self._pending.fail_unserved(
            models, lease_seconds=self._lease_seconds, grace_seconds=self._grace_seconds
        )
        self._metrics.failures.add(FailureKind.CONFIGURATION, amount=len(failed))
        for result in failed:
            with structlog.contextvars.bound_contextvars(
                chat_id=result.chat.id, epoch=result.chat.epoch
            ):
                _log.warning("chat.unserved", model_id=result.chat.last_model_config_id)
        return bool(failed)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
