"""Transitions that end the wait for answers: of people, of the client, or none in time."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.answer import Answer, stored_answer
from chatd.domain.question import action
from chatd.domain.request_actor import RequestActor
from chatd.domain.tool_call import ToolResult
from chatd.domain.tool_call_errors import NOT_ANSWERED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.executor import TransitionExecutor
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.telemetry import tracing
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("actions")


class ToolCalls:
    """Store for answers to the tool calls that a chat asks."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
        claim_on_send: ClaimOnSend | None = None,
    ) -> None:
        self._containment = Containment[UUID]("reaper", containment_metrics)
        self._database = database
        self._listener = listener
        self._limits = limits
        self._executor = TransitionExecutor(database, listener, claim_on_send)

    async def submit(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        results: Sequence[ToolResult],
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Store the results of all calls that the client runs, so that the turn goes on.

        Raises:
            ChatNotFound, NoActionRequired, ToolCallUnknown, ToolResultsMissing, ChatFull, StorageFull
        """
        return await self._answer(
            Transition.SUBMIT_TOOL_RESULTS,
            chat_id,
            owner_id=owner_id,
            answers=results,
            actor=actor,
            key=key,
        )

    async def answer(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        answers: Sequence[Answer],
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Store answers to some of the calls that the chat asks. The same ones again change nothing.

        Raises:
            ChatNotFound, NoActionRequired, ToolCallUnknown, AnswerMismatch, AlreadyAnswered, ChatFull,
            StorageFull
        """
        return await self._answer(
            Transition.ANSWER_ACTION,
            chat_id,
            owner_id=owner_id,
            answers=answers,
            actor=actor,
            key=key,
        )

    async def _answer(
        self,
        transition: Transition,
        chat_id: UUID,
        *,
        owner_id: str,
        answers: Sequence[Answer],
        actor: RequestActor | None,
        key: IdempotencyKey | None,
    ) -> TransitionResult:
        return await self._executor.execute_claiming(
            transition,
            _Q["answer_action"],
            actor=actor,
            key=key,
            history=lambda known, _: known,
            chat_id=chat_id,
            owner_id=owner_id,
            transition_name=transition.value,
            complete=transition is Transition.SUBMIT_TOOL_RESULTS,
            answers=[stored_answer(answer) for answer in answers],
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )

    async def actions(self, chat_id: UUID, *, owner_id: str) -> list[Mapping[str, Any]]:
        """Return the calls that a chat asks, as clients see them. None of a chat of another owner."""
        return [call for call, _ in await self.asked(chat_id, owner_id=owner_id)]

    async def asked(self, chat_id: UUID, *, owner_id: str) -> list[tuple[Mapping[str, Any], bool]]:
        """Return the same, and of each call whether its tool needs the answer to go on."""
        rows = await self._database.fetch(_Q["actions"], chat_id=chat_id, owner_id=owner_id)
        return [
            (action(dict(row), row["question"], row["expires_at"]), row["is_of_tool"])
            for row in rows
        ]

    async def expire(self, *, limit: int = 25) -> list[TransitionResult]:
        """Answer overdue calls of up to ``limit`` chats with an error. A chat that asks no more goes on."""

        async def expire(only: Sequence[UUID] | None) -> Sequence[asyncpg.Record]:
            return await self._database.fetch(
                _Q["expire_action"],
                limit=limit,
                words=NOT_ANSWERED,
                limits=self._limits().of_owner,
                excluded=self._containment.cut_keys,
                only=only,
            )

        async def overdue() -> Sequence[UUID]:
            rows = await self._database.fetch(
                _Q["overdue_actions"], limit=limit, excluded=self._containment.cut_keys
            )
            return [row["id"] for row in rows]

        rows = await self._containment.run_or_split(expire, overdue, key=lambda one: one)
        return self._containment.read_each(rows, self._to_expired, key=itemgetter("id"))

    def _to_expired(self, row: asyncpg.Record) -> TransitionResult:
        return self._listener.committed(row, Transition.EXPIRE_ACTION)
