"""The moves that change a chat's history."""

from collections.abc import Callable
from uuid import UUID

from chatd.domain.message import Content
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commands import TransitionExecutor
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.telemetry import tracing

_Q = sql.load("messages")


class Messages:
    """Change what was said. What goes is superseded: it is kept, and nobody is shown it again."""

    def __init__(
        self, database: Database, *, limits: Callable[[], ChatLimits] = ChatLimits
    ) -> None:
        self._executor = TransitionExecutor(database)
        self._limits = limits

    async def edit(
        self,
        chat_id: UUID,
        message_id: int,
        *,
        owner_id: str | None,
        content: Content,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Say a message differently, and have it answered anew; all that came after it goes.

        Whoever works on the chat is fenced: it finds that the chat is no longer its own.

        Raises:
            ChatNotFound, MessageNotFound, NotUsersMessage, ChatArchived, TooManyChats
        """
        return await self._executor.execute(
            Transition.EDIT,
            _Q["edit"],
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            message_id=message_id,
            content=replace_unstorable_json(content),
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )

    async def clear(
        self, chat_id: UUID, *, owner_id: str | None, key: IdempotencyKey | None = None
    ) -> TransitionResult:
        """Start over: the history goes, but for the system prompt; the queue and an error too.

        Raises:
            ChatNotFound, ChatArchived, ChatBusy
        """
        return await self._executor.execute(
            Transition.CLEAR, _Q["clear"], key=key, chat_id=chat_id, owner_id=owner_id
        )
