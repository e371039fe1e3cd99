"""Durable writes of a leased chat: retried during an outage, and never applied twice."""

from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import Any, TypeVar

import anyio

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.hint import Hint
from chatd.domain.message import Message, NewMessage, PendingToolCall
from chatd.domain.transitions import Transition
from chatd.fanout.change_bus import ChangeBus
from chatd.store.records import TransitionResult
from chatd.store.turns import Turns
from chatd.supervision.backoff import Backoff
from chatd.telemetry import tracing
from chatd.worker.clock import boottime
from chatd.worker.lease import Lease

T = TypeVar("T")

_RETRY_FIRST_SECONDS, _RETRY_MAX_SECONDS = 0.05, 1.0
"""Backoff between two tries while the database is unavailable."""


class Interrupted(Exception):
    """An interrupt was requested before this could be stored."""


class Writer:
    """The transitions of one leased chat.

    A statement whose response was lost may have been committed. So when no row matches the fencing token,
    the writer reads the chat: the transition may be applied already, an interrupt may have been
    requested, or another worker has the chat, which raises ``LeaseLost``.
    """

    def __init__(self, turns: Turns, change_bus: ChangeBus, lease: Lease) -> None:
        self._turns = turns
        self._change_bus = change_bus
        self._lease = lease
        self._elapsed_seconds = 0.0

    def take_elapsed(self) -> float:
        """Return the seconds that reading and storing took since the last call."""
        elapsed, self._elapsed_seconds = self._elapsed_seconds, 0.0
        return elapsed

    async def history(self) -> tuple[Message, ...]:
        with tracing.store_span("history"):
            return await self._retry_until_lease_expires(
                lambda: self._turns.history(self._lease.chat.id)
            )

    async def commit_step(self, messages: Sequence[NewMessage], settled_part: int) -> None:
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.COMMIT_STEP,
            lambda: self._turns.commit_step(
                self._lease.fence, step=step, messages=messages, settled_part=settled_part
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def require_action(
        self,
        messages: Sequence[NewMessage],
        calls: Sequence[PendingToolCall],
        settled_part: int,
        *,
        client_tool_timeout_seconds: float,
    ) -> None:
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.REQUIRE_ACTION,
            lambda: self._turns.require_action(
                self._lease.fence,
                step=step,
                messages=messages,
                calls=calls,
                client_tool_timeout_seconds=client_tool_timeout_seconds,
                settled_part=settled_part,
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def finish_turn(self, messages: Sequence[NewMessage], settled_part: int) -> None:
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.FINISH_TURN,
            lambda: self._turns.finish_turn(
                self._lease.fence, step=step, messages=messages, settled_part=settled_part
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def finish_interrupt(self, messages: Sequence[NewMessage], settled_part: int) -> None:
        """Store what there is. A chat that turns out not to be interrupting stays running."""
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.FINISH_INTERRUPT,
            lambda: self._turns.finish_interrupt(
                self._lease.fence, step=step, messages=messages, settled_part=settled_part
            ),
            lambda chat: chat.committed_steps > step or chat.status is Status.RUNNING,
        )

    async def record_retry(
        self, *, attempts: int, delay_seconds: float, settled_part: int, failure: dict[str, Any]
    ) -> None:
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.RECORD_RETRY,
            lambda: self._turns.record_retry(
                self._lease.fence,
                step=step,
                attempts=attempts,
                delay_seconds=delay_seconds,
                settled_part=settled_part,
                failure=failure,
            ),
            lambda chat: chat.attempts >= attempts,
        )

    async def fail(self, *, last_error: str, detail: dict[str, Any], settled_part: int) -> None:
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.FAIL,
            lambda: self._turns.fail(
                self._lease.fence,
                step=step,
                last_error=last_error,
                detail=detail,
                settled_part=settled_part,
            ),
            # The commit of the turn's end may have succeeded although its response was lost.
            lambda chat: chat.status is Status.ERROR or chat.committed_steps > step,
        )

    async def release(self, *, reason: str) -> None:
        """Release the chat. The end of its turn may be stored although its response was lost."""
        step = self._lease.chat.committed_steps
        await self._apply(
            Transition.RELEASE,
            lambda: self._turns.release(self._lease.fence, reason=reason),
            lambda chat: chat.status is Status.PENDING or chat.committed_steps > step,
        )

    async def _apply(
        self,
        transition: Transition,
        statement: Callable[[], Awaitable[TransitionResult]],
        is_applied: Callable[[Chat], bool],
    ) -> None:
        self._lease.transition_in_flight = True
        try:
            with tracing.store_span(transition):
                moved = await self._retry_until_lease_expires(statement)
        except LeaseLost:
            self._lease.chat = await self._reconcile(is_applied)
            chat = self._lease.chat
            self._change_bus.receive(Hint(chat.id, chat.version, chat.status))
        else:
            self._lease.chat = moved.chat
            self._change_bus.publish(moved.entry)
        finally:
            self._lease.transition_in_flight = False

    async def _reconcile(self, is_applied: Callable[[Chat], bool]) -> Chat:
        """Return the chat that did not match the fencing token, if the transition was applied."""
        chat = await self._retry_until_lease_expires(
            lambda: self._turns.current(self._lease.chat.id)
        )
        fence = self._lease.fence
        if chat is None or chat.epoch != fence.epoch:
            raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
        if is_applied(chat):
            return chat
        if chat.status is Status.INTERRUPTING and chat.worker_id == fence.worker_id:
            self._lease.chat = chat
            raise Interrupted
        raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)

    async def _retry_until_lease_expires(self, statement: Callable[[], Awaitable[T]]) -> T:
        backoff, started_at = None, boottime()
        try:
            while True:
                try:
                    return await statement()
                except DatabaseUnavailable:
                    backoff = backoff or Backoff(
                        first_seconds=_RETRY_FIRST_SECONDS,
                        max_seconds=_RETRY_MAX_SECONDS,
                        random=random,
                    )
                    await anyio.sleep(backoff.next_delay())
                    self._lease.ensure_valid()
        finally:
            self._elapsed_seconds += boottime() - started_at
