"""Writing for an owner: patient while the database is away, and never the same thing twice."""

from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import Any, TypeVar

import anyio

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.event import Hint
from chatd.domain.message import Message, NewMessage, PendingToolCall
from chatd.domain.moves import Transition
from chatd.live.hints import Hints
from chatd.store.rows import TransitionResult
from chatd.store.turns import Turns
from chatd.supervision.budget import Backoff
from chatd.telemetry import tracing
from chatd.work.hand import Hand, now

T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
"""Seconds between two tries while the database is away, at first and at most."""


class Interrupted(Exception):
    """A stop was asked before this could be stored."""


class Writer:
    """The moves of one chat in hand.

    A statement whose answer was cut off may have taken effect. So after an outage, and whenever no
    row answers to the fence, the chat is looked at: it may be stored already, it may be interrupting,
    or it may be somebody else's, which raises ``LeaseLost``.
    """

    def __init__(self, turns: Turns, hints: Hints, hand: Hand) -> None:
        self._turns = turns
        self._hints = hints
        self._hand = hand
        self._spent_seconds = 0.0

    def spent(self) -> float:
        """Seconds that reading and storing took since this was asked last."""
        spent, self._spent_seconds = self._spent_seconds, 0.0
        return spent

    async def history(self) -> tuple[Message, ...]:
        with tracing.store_span("history"):
            return await self._patiently(lambda: self._turns.history(self._hand.chat.id))

    async def commit_step(self, messages: Sequence[NewMessage], parts_done: int) -> None:
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.COMMIT_STEP,
            lambda: self._turns.commit_step(
                self._hand.fence, step=step, messages=messages, settled_part=parts_done
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def require_action(
        self,
        messages: Sequence[NewMessage],
        calls: Sequence[PendingToolCall],
        parts_done: int,
        *,
        action_seconds: float,
    ) -> None:
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.REQUIRE_ACTION,
            lambda: self._turns.require_action(
                self._hand.fence,
                step=step,
                messages=messages,
                calls=calls,
                client_tool_timeout_seconds=action_seconds,
                settled_part=parts_done,
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def finish_turn(self, messages: Sequence[NewMessage], parts_done: int) -> None:
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.FINISH_TURN,
            lambda: self._turns.finish_turn(
                self._hand.fence, step=step, messages=messages, settled_part=parts_done
            ),
            lambda chat: chat.committed_steps > step,
        )

    async def finish_interrupt(self, messages: Sequence[NewMessage], parts_done: int) -> None:
        """Store what there is; a chat that turns out not to be interrupting is left running."""
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.FINISH_INTERRUPT,
            lambda: self._turns.finish_interrupt(
                self._hand.fence, step=step, messages=messages, settled_part=parts_done
            ),
            lambda chat: chat.committed_steps > step or chat.status is Status.RUNNING,
        )

    async def record_retry(
        self, *, attempts: int, delay_seconds: float, parts_done: int, failure: dict[str, Any]
    ) -> None:
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.RECORD_RETRY,
            lambda: self._turns.record_retry(
                self._hand.fence,
                step=step,
                attempts=attempts,
                delay_seconds=delay_seconds,
                settled_part=parts_done,
                failure=failure,
            ),
            lambda chat: chat.attempts >= attempts,
        )

    async def fail(self, *, last_error: str, detail: dict[str, Any], parts_done: int) -> None:
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.FAIL,
            lambda: self._turns.fail(
                self._hand.fence,
                step=step,
                last_error=last_error,
                detail=detail,
                settled_part=parts_done,
            ),
            # A turn that was cut in the middle of its finish may have finished all the same.
            lambda chat: chat.status is Status.ERROR or chat.committed_steps > step,
        )

    async def release(self, *, why: str) -> None:
        """Give the chat back; the end of its turn may have been cut off on its way, and be stored."""
        step = self._hand.chat.committed_steps
        await self._moved(
            Transition.RELEASE,
            lambda: self._turns.release(self._hand.fence, reason=why),
            lambda chat: chat.status is Status.PENDING or chat.committed_steps > step,
        )

    async def _moved(
        self,
        move: Transition,
        ask: Callable[[], Awaitable[TransitionResult]],
        took_effect: Callable[[Chat], bool],
    ) -> None:
        self._hand.moving = True
        try:
            with tracing.store_span(move):
                moved = await self._patiently(ask)
        except LeaseLost:
            self._hand.chat = await self._look(took_effect)
            chat = self._hand.chat
            self._hints.heard(Hint(chat.id, chat.version, chat.status))
        else:
            self._hand.chat = moved.chat
            self._hints.moved(moved.entry)
        finally:
            self._hand.moving = False

    async def _look(self, took_effect: Callable[[Chat], bool]) -> Chat:
        """What became of the chat that did not answer to the fence."""
        chat = await self._patiently(lambda: self._turns.current(self._hand.chat.id))
        fence = self._hand.fence
        if chat is None or chat.epoch != fence.epoch:
            raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
        if took_effect(chat):
            return chat
        if chat.status is Status.INTERRUPTING and chat.worker_id == fence.worker_id:
            self._hand.chat = chat
            raise Interrupted
        raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        backoff, began = None, now()
        try:
            while True:
                try:
                    return await ask()
                except DatabaseUnavailable:
                    backoff = backoff or Backoff(
                        first_seconds=_FIRST_WAIT, max_seconds=_LONGEST_WAIT, random=random
                    )
                    await anyio.sleep(backoff.next_delay())
                    self._hand.check()
        finally:
            self._spent_seconds += now() - began
