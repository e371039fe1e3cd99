"""Runner: runs the turns of one leased chat until the lease ends.

What the task has not stored yet stays in memory. The writer stores it, also across a database outage, for
as long as the lease lasts.

A turn costs some 0.3 ms from here on, the model and the end of the turn included. The benchmark ``turns``
watches it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import anyio
import structlog

from chatd.domain.chat import LEASED
from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable, LeaseLost
from chatd.domain.failure import Failure, database_failure, panic_failure
from chatd.domain.outcomes import LossReason, TurnOutcome
from chatd.store.histories import ChatHistory
from chatd.supervision.child_run import is_being_cancelled
from chatd.telemetry import tracing
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Cause, Lease
from chatd.worker.tool_run import StartTask
from chatd.worker.turn import Turn
from chatd.worker.turn_services import TurnServices
from chatd.worker.writer import Interrupted, Writer

_log = structlog.get_logger()

_LOSS_LOOKUP_SECONDS, _EXPIRED_LOOKUP_SECONDS = 5.0, 0.2
"""Timeouts for looking up why a lease was lost: in general, and once it has expired locally."""


class Runner:
    """Runner of the turns of one leased chat.

    ``config`` is called once per turn, so that a reload applies. A ``history`` of None is read.
    ``start_task`` starts a task of the pool, for a tool.
    """

    def __init__(
        self,
        services: TurnServices,
        lease: Lease,
        *,
        history: ChatHistory | None = None,
        config: Callable[[], TurnConfig],
        start_task: StartTask,
        draining: Callable[[], bool],
    ) -> None:
        self._services = services
        self._config = config
        self._start_task = start_task
        self._lease = lease
        self._draining = draining
        self._writer = Writer(services.turns, services.change_bus, lease, history=history)

    async def run(self, *, turn_seconds_left: float | None = None) -> None:
        """Run turns until the chat is not leased any more.

        The first one has ``turn_seconds_left`` of its time, if it was deferred before.
        """
        try:
            while self._lease.chat.status in LEASED and await self._run_turn(
                self._config(), turn_seconds_left
            ):
                turn_seconds_left = None
            self._writer.keep_history()
        finally:
            fence = self._lease.fence
            self._services.flusher.untrack(fence.chat_id, epoch=fence.epoch)
            self._services.hub.end_steps(fence.chat_id, epoch=fence.epoch)

    async def _run_turn(self, config: TurnConfig, seconds_left: float | None) -> bool:
        """Run one turn, and count, log and trace it. Return False if the lease was lost."""
        turn = Turn(self._services, config, self._lease, self._writer, self._start_task)
        with config.catalog.in_use(), tracing.turn_span(self._lease.chat) as span:
            try:
                await self._guard(turn, seconds_left)
            except LeaseLost:
                turn.stats.outcome = TurnOutcome.LOST
                reason = await self._loss_reason()
                self._services.metrics.leases.leases_lost.add(reason)
                _log.warning("chat.lost", reason=reason)
                return False
            finally:
                turn.stats.add_time("storing", self._writer.take_elapsed())
                turn.stats.record_metrics(self._services.metrics.turns)
                turn.stats.record_span(span)
                turn.stats.log()
        return True

    async def _loss_reason(self) -> LossReason:
        """Return why the lease was lost, as far as the database can tell in time.

        If it expired locally, the database is most likely unavailable. Then wait a moment only, and report
        the expiry.
        """
        expired = self._lease.remaining_seconds <= 0
        seconds = _EXPIRED_LOOKUP_SECONDS if expired else _LOSS_LOOKUP_SECONDS
        with anyio.move_on_after(seconds), suppress(DatabaseUnavailable):
            return await self._services.turns.loss_reason(self._lease.fence)
        return LossReason.EXPIRED if expired else LossReason.UNKNOWN

    async def _guard(self, turn: Turn, seconds_left: float | None) -> None:
        """Run one turn, and handle its cancellation, its interrupt and its panic."""
        try:
            with self._lease.scope() as scope:
                if self._draining():
                    await turn.release(reason="draining")
                else:
                    await turn.run(seconds_left=seconds_left)
            if scope.cancelled:
                await self._stop(turn, self._lease.cause)
        except Interrupted:
            await self._stop(turn, Cause.INTERRUPTED)
        except LeaseLost:
            raise
        except DatabaseBusy:
            await self._fail(turn, database_failure())
        except BaseException as error:  # a bug becomes the failure of this chat
            if _is_external_cancellation(error):
                raise
            await self._panic(turn, error)
        self._lease.clear_interrupt()

    async def _stop(self, turn: Turn, cause: Cause | None) -> None:
        """Store the result of a cancelled turn, or release the chat."""
        with self._lease.stop_scope(cause) as stop:
            match cause:
                case Cause.INTERRUPTED:
                    await turn.finish_interrupt()
                case Cause.SHUTDOWN:
                    await turn.release(reason="shutdown")
                case _:
                    raise LeaseLost(chat_id=self._lease.chat.id, epoch=self._lease.chat.epoch)
        if stop.cancelled_caught:
            raise LeaseLost(chat_id=self._lease.chat.id, epoch=self._lease.chat.epoch)

    async def _panic(self, turn: Turn, error: BaseException) -> None:
        _log.error("chat.panicked", exc_info=error)
        if self._lease.cause is not None:  # it failed while it was stopping: finish the stop
            await self._stop(turn, self._lease.cause)
            return
        await self._fail(turn, panic_failure(error))
        turn.stats.outcome = TurnOutcome.PANICKED

    async def _fail(self, turn: Turn, failure: Failure) -> None:
        try:
            await turn.fail(failure)
        except Interrupted:
            await turn.finish_interrupt()


def _is_external_cancellation(error: BaseException) -> bool:
    """Return True if this task itself was cancelled, rather than something that it awaited."""
    if isinstance(error, asyncio.CancelledError):
        return is_being_cancelled()
    return isinstance(error, KeyboardInterrupt)
