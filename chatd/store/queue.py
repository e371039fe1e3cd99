"""The moves that change a chat's queue by hand."""

from collections.abc import Callable
from uuid import UUID

from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commands import TransitionExecutor
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult

_Q = sql.load("queue")


class Queue:
    """Take messages out of a chat's queue, one way or the other."""

    def __init__(
        self, database: Database, *, limits: Callable[[], ChatLimits] = ChatLimits
    ) -> None:
        self._executor = TransitionExecutor(database)
        self._limits = limits

    async def remove(
        self, chat_id: UUID, queued_id: int, *, owner_id: str | None
    ) -> TransitionResult:
        """A message that was not said after all.

        Raises:
            ChatNotFound, QueuedMessageNotFound
        """
        return await self._executor.execute_without_key(
            Transition.REMOVE_QUEUED,
            _Q["remove"],
            chat_id=chat_id,
            owner_id=owner_id,
            queued_id=queued_id,
        )

    async def promote(
        self,
        chat_id: UUID,
        queued_id: int,
        *,
        owner_id: str | None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """A queued message next; a running turn stops for it.

        Raises:
            ChatNotFound, QueuedMessageNotFound, ChatArchived, TooManyChats
        """
        return await self._executor.execute(
            Transition.PROMOTE,
            _Q["promote"],
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            queued_id=queued_id,
            limits=self._limits().of_owner,
        )
