"""Transitions by which a caller changes the queue of a chat."""

from collections.abc import Callable
from uuid import UUID

from chatd.domain.request_actor import RequestActor
from chatd.domain.tool_call_errors import CANCELLED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.executor import TransitionExecutor
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult

_Q = sql.load("queue")


class Queue:
    """Store for callers that remove or promote queued messages."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
    ) -> None:
        self._executor = TransitionExecutor(database, listener)
        self._limits = limits

    async def remove(
        self, chat_id: UUID, queued_id: int, *, owner_id: str, actor: RequestActor | None = None
    ) -> TransitionResult:
        """Remove a message from the queue.

        Raises:
            ChatNotFound, QueuedMessageNotFound
        """
        return await self._executor.execute_without_key(
            Transition.REMOVE_QUEUED,
            _Q["remove"],
            actor=actor,
            chat_id=chat_id,
            owner_id=owner_id,
            queued_id=queued_id,
        )

    async def promote(
        self,
        chat_id: UUID,
        queued_id: int,
        *,
        owner_id: str,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Move a queued message to the head of the queue. A running turn is interrupted for it.

        Raises:
            ChatNotFound, QueuedMessageNotFound, ChatArchived, TooManyActiveChats
        """
        return await self._executor.execute(
            Transition.PROMOTE,
            _Q["promote"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            queued_id=queued_id,
            words=CANCELLED,
            limits=self._limits().of_owner,
        )
