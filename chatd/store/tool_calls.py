"""Transitions that end the wait for a client's tools: its results, or its time-out."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from uuid import UUID

import asyncpg

from chatd.domain.request_actor import RequestActor
from chatd.domain.tool_call import ToolResult
from chatd.domain.tool_call_errors import TIMED_OUT
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

_Q = sql.load("tool_calls")


class ToolCalls:
    """Store for the results of the tool calls that a chat waits for."""

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
        """Store the results of all pending calls of a chat, so that the turn goes on.

        Raises:
            ChatNotFound, NoActionRequired, ToolCallUnknown, ToolResultsMissing, ChatFull, StorageFull
        """
        return await self._executor.execute_claiming(
            Transition.SUBMIT_TOOL_RESULTS,
            _Q["submit_tool_results"],
            actor=actor,
            key=key,
            history=lambda known, _: known,
            chat_id=chat_id,
            owner_id=owner_id,
            results=[result.to_json() for result in results],
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )

    async def expire(self, *, limit: int = 25) -> list[TransitionResult]:
        """Answer overdue calls with an error, so that the turns of up to ``limit`` chats go on."""

        async def expire(only: Sequence[UUID] | None) -> Sequence[asyncpg.Record]:
            return await self._database.fetch(
                _Q["expire_action"],
                limit=limit,
                words=TIMED_OUT,
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
