"""Transitions by which a caller changes the history of a chat."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from chatd.domain.files import File
from chatd.domain.message import Content, NewMessage, Role
from chatd.domain.request_actor import RequestActor
from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.title import first_words
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.executor import TransitionExecutor
from chatd.store.files import file_parameters
from chatd.store.histories import ChatHistory
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult, message_rows
from chatd.telemetry import tracing

_Q = sql.load("messages")


class Messages:
    """Store for callers that change a history. Superseded messages are kept, but not shown again."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        claim_on_send: ClaimOnSend | None = None,
    ) -> None:
        self._executor = TransitionExecutor(database, listener, claim_on_send)
        self._limits = limits

    async def edit(
        self,
        chat_id: UUID,
        message_id: int,
        *,
        owner_id: str,
        content: Content,
        actor: RequestActor | None = None,
        files: Sequence[File] = (),
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Replace a message of the user, supersede everything after it, and have it answered again.

        A worker that runs a turn of the chat is fenced: it loses the lease.

        Raises:
            ChatNotFound, MessageNotFound, NotAUserMessage, ChatArchived, TooManyActiveChats, ChatFull,
            StorageFull
        """
        return await self._answer_from(
            Transition.EDIT,
            chat_id,
            message_id,
            owner_id=owner_id,
            content=replace_unstorable_json(content),
            files=files,
            actor=actor,
            key=key,
        )

    async def regenerate(
        self,
        chat_id: UUID,
        message_id: int,
        *,
        owner_id: str,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Have the last message of the user up to ``message_id`` answered again.

        Everything after it is superseded. A worker that runs a turn of the chat is fenced.

        Raises:
            ChatNotFound, MessageNotFound, ChatArchived, TooManyActiveChats
        """
        return await self._answer_from(
            Transition.REGENERATE,
            chat_id,
            message_id,
            owner_id=owner_id,
            content=None,
            files=(),
            actor=actor,
            key=key,
        )

    async def _answer_from(
        self,
        transition: Transition,
        chat_id: UUID,
        message_id: int,
        *,
        owner_id: str,
        content: Content | None,
        files: Sequence[File],
        actor: RequestActor | None,
        key: IdempotencyKey | None,
    ) -> TransitionResult:
        """Supersede what is after a message of the user, which may be replaced, and have it answered."""
        return await self._executor.execute_claiming(
            transition,
            _Q["edit"],
            actor=actor,
            key=key,
            history=_history_before,
            transition_name=transition.value,
            chat_id=chat_id,
            owner_id=owner_id,
            message_id=message_id,
            content=content,
            **file_parameters(files),
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )

    async def append(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        messages: Sequence[NewMessage],
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Store messages of any role at the end of an idle chat's history, and have none answered.

        ``find_history_fault`` says which may be stored. A failed chat stays one.

        Raises:
            ChatNotFound, ChatArchived, ChatBusy, ChatFull, StorageFull
        """
        asked = next((each.content for each in messages if each.role is Role.USER), ())
        return await self._executor.execute(
            Transition.APPEND,
            _Q["append"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            messages=message_rows(messages),
            first_words=first_words(asked),
            **file_parameters(file for each in messages for file in each.files),
            limits=self._limits().of_owner,
        )

    async def clear(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Supersede the history except the system prompt, and drop the queue and an error.

        Raises:
            ChatNotFound, ChatArchived, ChatBusy
        """
        return await self._executor.execute(
            Transition.CLEAR, _Q["clear"], actor=actor, key=key, chat_id=chat_id, owner_id=owner_id
        )

    async def request_compaction(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        instructions: str | None = None,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """Ask for a summary to stand for the history, with ``instructions`` for the one who writes it.

        An idle chat becomes pending. A busy one is compacted before its model is called next.

        Raises:
            ChatNotFound, ChatArchived, NothingToCompact, TooManyActiveChats
        """
        return await self._executor.execute(
            Transition.REQUEST_COMPACTION,
            _Q["request_compaction"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            instructions=None if instructions is None else replace_unstorable(instructions),
            limits=self._limits().of_owner,
            request_traceparent=tracing.current_traceparent(),
        )


def _history_before(known: ChatHistory | None, entry: Mapping[str, Any]) -> ChatHistory | None:
    """Return the known history up to an edit. None: the edit brings back what a summary covered."""
    if known is None or "compacted_until" in entry:
        return None
    return known.before(entry["reset_from"])
