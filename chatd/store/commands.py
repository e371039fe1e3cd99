"""How a caller's move is asked for: until it is fresh, once for each key, refused by name."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.errors import (
    ChatArchived,
    ChatBusy,
    ChatNotFound,
    ChatTreeBusy,
    MessageNotFound,
    NoActionRequired,
    NotAUserMessage,
    NothingToRetry,
    QueuedMessageNotFound,
    QueueFull,
    Refused,
    ToolCallUnknown,
    ToolResultsMissing,
    TooManyActiveChats,
)
from chatd.domain.transitions import Transition
from chatd.store import records
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey, IdempotencyStore, key_arguments
from chatd.store.records import TransitionResult
from chatd.store.sql import Query

_ERRORS_BY_OUTCOME: Mapping[str, type[Refused]] = {
    error.code: error
    for error in (
        ChatArchived,
        ChatBusy,
        ChatTreeBusy,
        MessageNotFound,
        NoActionRequired,
        NotAUserMessage,
        NothingToRetry,
        QueueFull,
        QueuedMessageNotFound,
        TooManyActiveChats,
        ToolCallUnknown,
        ToolResultsMissing,
    )
}
"""Refusals by the outcome that a statement returns for them, which is their code."""

_IDEMPOTENCY_CONSTRAINT = "idempotency_keys_pkey"

_MAX_NAMED_IDS, _MAX_NAMED_ID_LENGTH = 10, 200
"""How many ids a refusal names, and how much of each: they are the caller's own words."""


class TransitionExecutor:
    """Runs the statements of callers' transitions, with the parameters of an idempotency key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idempotency = IdempotencyStore(database)

    async def execute(
        self, transition: Transition, query: Query, *, key: IdempotencyKey | None, **values: object
    ) -> TransitionResult:
        """Run the statement of a transition of one chat."""
        (row,) = await self.execute_many(query, key=key, **values)
        return records.transition_result(row, transition)

    async def execute_many(
        self, query: Query, *, key: IdempotencyKey | None, **values: object
    ) -> Sequence[records.Row]:
        """Run the statement of a transition of a chat and others; the first row is the chat's own.

        With an idempotency key, a repeat returns the stored response, which is one row. Rejections
        are not stored. A request that succeeded once is never rejected on repeat.
        """
        while True:
            try:
                found = await self._run(query, **values, **key_arguments(key))
            except asyncpg.UniqueViolationError as error:
                kept = await self._stored_response(error, key)
            except Refused:
                kept = None if key is None else await self._idempotency.lookup(key)
                if kept is None:
                    raise
            else:
                return found
            if kept is not None:
                return [kept]

    async def execute_without_key(
        self, transition: Transition, query: Query, **values: object
    ) -> TransitionResult:
        """Run a statement that takes no key, because repeating it does no harm."""
        (row,) = await self._run(query, **values)
        return records.transition_result(row, transition)

    async def _run(self, query: Query, **values: object) -> Sequence[asyncpg.Record]:
        while True:
            found = await self._database.fetch(query, **values)
            chat_id = values.get("chat_id")
            if not found:
                assert isinstance(chat_id, UUID)  # noqa: S101 - only create has none, and a row
                raise ChatNotFound(chat_id)
            outcome = found[0]["outcome"]
            if outcome == "done":
                return found
            if outcome != "stale":  # each "stale" is a transition of somebody else that committed
                error = _ERRORS_BY_OUTCOME[outcome]
                raise error(_message_naming(error, found[0].get("tool_call_ids")), chat_id=chat_id)

    async def _stored_response(
        self, error: asyncpg.UniqueViolationError, key: IdempotencyKey | None
    ) -> Mapping[str, Any] | None:
        """What a duplicate was answered; None: it is forgotten already, so ask anew."""
        if key is None or error.constraint_name != _IDEMPOTENCY_CONSTRAINT:
            raise error
        return await self._idempotency.lookup(key)


def _message_naming(error_type: type[Refused], ids: Sequence[str] | None) -> str | None:
    """What the refusal says, with the ids that it is about; None: nothing more than it always says."""
    if not ids:
        return None
    named = ", ".join(one[:_MAX_NAMED_ID_LENGTH] for one in ids[:_MAX_NAMED_IDS])
    more = f" and {len(ids) - _MAX_NAMED_IDS} more" if len(ids) > _MAX_NAMED_IDS else ""
    return f"{error_type.__doc__} They are: {named}{more}."
