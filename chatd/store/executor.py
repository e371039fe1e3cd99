"""Executor of callers' transitions: repeats stale statements, honours keys, translates refusals."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from chatd.domain.errors import (
    AlreadyAnswered,
    AnswerMismatch,
    ChatArchived,
    ChatBusy,
    ChatExists,
    ChatFull,
    ChatGone,
    ChatNotFound,
    ChatTreeBusy,
    LeaseLost,
    MessageNotFound,
    NoActionRequired,
    NotAUserMessage,
    NothingToCompact,
    NothingToRetry,
    QueuedMessageNotFound,
    QueueFull,
    Refused,
    StatusUnknown,
    StorageFull,
    ToolCallUnknown,
    ToolResultsMissing,
    TooManyActiveChats,
)
from chatd.domain.request_actor import RequestActor
from chatd.domain.transitions import Transition
from chatd.store.claim_on_send import NO_CLAIM, ClaimOnSend, Committed, HistoryBefore
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data
from chatd.store.idempotency import IdempotencyKey, IdempotencyStore, key_arguments
from chatd.store.records import Row, TransitionResult
from chatd.store.sql import Query
from chatd.store.turns import FencingToken

_ERRORS_BY_OUTCOME: Mapping[str, type[Refused]] = {
    error.code: error
    for error in (
        AlreadyAnswered,
        AnswerMismatch,
        ChatArchived,
        ChatBusy,
        ChatExists,
        ChatFull,
        ChatGone,
        ChatTreeBusy,
        MessageNotFound,
        NoActionRequired,
        NotAUserMessage,
        NothingToCompact,
        NothingToRetry,
        QueueFull,
        QueuedMessageNotFound,
        StatusUnknown,
        StorageFull,
        TooManyActiveChats,
        ToolCallUnknown,
        ToolResultsMissing,
    )
}
"""Refusals by the outcome that a statement returns for them, which is their code."""

_IDEMPOTENCY_CONSTRAINT, _CHAT_ID_CONSTRAINT = "idempotency_keys_pkey", "chats_pkey"

_MAX_NAMED_IDS, _MAX_NAMED_ID_LENGTH = 10, 200
"""Bounds on the ids in the message of a refusal, because the caller chose them."""


NO_ACTOR: Final[Mapping[str, None]] = {"actor_owner_id": None, "actor_token_id": None}


def actor_arguments(actor: RequestActor | None, owner_id: object) -> Mapping[str, object]:
    """Return the parameters that name the actor. The chat's own owner is not named again."""
    if actor is None:
        return NO_ACTOR
    return {
        "actor_owner_id": None if actor.owner_id == owner_id else actor.owner_id,
        "actor_token_id": actor.token_id,
    }


def caller_arguments(caller: FencingToken | None) -> Mapping[str, object]:
    """Return the parameters of a statement that the worker of another chat may execute."""
    return {
        "caller_id": caller and caller.chat_id,
        "caller_worker_id": caller and caller.worker_id,
        "caller_epoch": caller and caller.epoch,
    }


class TransitionExecutor:
    """Executor of the statements of callers' transitions, with the parameters of an idempotency key."""

    def __init__(
        self,
        database: Database,
        listener: CommitListener,
        claim_on_send: ClaimOnSend | None = None,
    ) -> None:
        self._database = database
        self._listener = listener
        self._claim_on_send = claim_on_send
        self._idempotency = IdempotencyStore(database)

    async def execute(
        self,
        transition: Transition,
        query: Query,
        *,
        actor: RequestActor | None,
        key: IdempotencyKey | None,
        **values: object,
    ) -> TransitionResult:
        """Run the statement of a transition of one chat."""
        (result,) = await self.execute_many(transition, query, actor=actor, key=key, **values)
        return result

    async def execute_many(
        self,
        transition: Transition,
        query: Query,
        *,
        actor: RequestActor | None,
        key: IdempotencyKey | None,
        **values: object,
    ) -> list[TransitionResult]:
        """Run the statement of a transition of a chat and others. The first result is the chat's own.

        With an idempotency key, a repeat changes nothing and returns one result, of the same rows as they
        are now. Rejections are not stored. A request that succeeded once is never rejected on repeat, but
        with ``ChatNotFound`` once its chat is deleted.
        """
        values |= actor_arguments(actor, values["owner_id"])
        return await self._execute(transition, query, key, values)

    async def execute_claiming(
        self,
        transition: Transition,
        query: Query,
        *,
        actor: RequestActor | None,
        key: IdempotencyKey | None,
        history: HistoryBefore,
        **values: object,
    ) -> TransitionResult:
        """Run the statement of a transition that makes a chat pending, and claims it if a slot is free.

        ``history`` returns what the chat's history was before the messages of the transition.
        """
        values |= actor_arguments(actor, values["owner_id"])

        async def statement(
            claim: Mapping[str, object], committed: Committed | None = None
        ) -> TransitionResult:
            (result,) = await self._execute(transition, query, key, {**values, **claim}, committed)
            return result

        if self._claim_on_send is None:
            return await statement(NO_CLAIM)
        chat_id: Any = values.get("chat_id")
        return await self._claim_on_send.execute(
            statement, transition, chat_id=chat_id, history=history
        )

    async def _execute(
        self,
        transition: Transition,
        query: Query,
        key: IdempotencyKey | None,
        values: Mapping[str, object],
        committed: Committed | None = None,
    ) -> list[TransitionResult]:
        while True:
            try:
                rows = await self._run(query, **values, **key_arguments(key))
            except asyncpg.UniqueViolationError as error:
                first = await self._first_request(error, key)
            except Refused:
                first = None if key is None else await self._idempotency.lookup(key)
                if first is None:
                    raise
            except Exception as error:
                if committed is None or not is_caused_by_data(error):
                    raise
                # Data that only the claim refuses: the claimer finds them in the line.
                values, committed = {**values, **NO_CLAIM}, None
                continue
            else:
                reported = await committed(rows[0]) if committed else None
                if reported is not None:
                    return [reported]
                return [self._listener.committed(row, transition) for row in rows]
            if first is not None:
                content: Any = values.get("content") or ()
                return [self._listener.replayed(first, transition, tuple(content))]

    async def execute_without_key(
        self, transition: Transition, query: Query, *, actor: RequestActor | None, **values: object
    ) -> TransitionResult:
        """Run a statement that takes no key, because repeating it does no harm."""
        values |= actor_arguments(actor, values["owner_id"])
        (row,) = await self._run(query, **values)
        return self._listener.committed(row, transition)

    async def _run(self, query: Query, **values: object) -> Sequence[asyncpg.Record]:
        while True:
            rows = await self._database.fetch(query, **values)
            chat_id = values.get("chat_id") or values.get("new_chat_id")
            if not rows:
                assert isinstance(chat_id, UUID)  # noqa: S101 - only create has no chat_id, and a row
                raise ChatNotFound(chat_id)
            outcome = rows[0]["outcome"]
            if outcome == "done":
                return rows
            if outcome == "lease_lost":
                raise LeaseLost(chat_id=values["caller_id"], epoch=values["caller_epoch"])
            if outcome == ChatNotFound.code:
                # Another owner's, or of no descendant of the caller.
                assert isinstance(chat_id, UUID)  # noqa: S101
                raise ChatNotFound(chat_id)
            if outcome != "stale":  # each "stale" is caused by another transition that committed
                error, row = _ERRORS_BY_OUTCOME[outcome], rows[0]
                raise error(
                    _message_naming(error, row.get("tool_call_ids")),
                    chat_id=chat_id,
                    decisions=row.get("decisions"),
                )

    async def _first_request(
        self, error: asyncpg.UniqueViolationError, key: IdempotencyKey | None
    ) -> Row | None:
        """Return the rows of the first request. None: run the statement again.

        The key was pruned, or another request created the chat with this id, which is found now.
        """
        if error.constraint_name == _CHAT_ID_CONSTRAINT:
            return None
        if key is None or error.constraint_name != _IDEMPOTENCY_CONSTRAINT:
            raise error
        return await self._idempotency.lookup(key)


def _message_naming(error_type: type[Refused], ids: Sequence[str] | None) -> str | None:
    """Return the message of a refusal with the ids that it is about. None: the default message."""
    if not ids:
        return None
    named = ", ".join(each[:_MAX_NAMED_ID_LENGTH] for each in ids[:_MAX_NAMED_IDS])
    more = f" and {len(ids) - _MAX_NAMED_IDS} more" if len(ids) > _MAX_NAMED_IDS else ""
    return f"{error_type.description()} They are: {named}{more}."
