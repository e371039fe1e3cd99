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
from chatd.telemetry import tracing

_ERRORS_BY_OUTCOME: Mapping[str, type[Refused]] = {
    "archived": ChatArchived,
    "busy": ChatBusy,
    "call_unknown": ToolCallUnknown,
    "chat_tree_busy": ChatTreeBusy,
    "full": QueueFull,
    "in_flight": TooManyActiveChats,
    "no_action": NoActionRequired,
    "no_message": MessageNotFound,
    "no_queued": QueuedMessageNotFound,
    "not_failed": NothingToRetry,
    "not_users": NotAUserMessage,
    "results_missing": ToolResultsMissing,
}

_IDEMPOTENCY_CONSTRAINT = "idempotency_keys_pkey"

_MAX_NAMED_IDS, _MAX_NAMED_ID_LENGTH = 10, 200
"""How many ids a refusal names, and how much of each: they are the caller's own words."""


_STARTS_TURN = frozenset(
    {Transition.SEND, Transition.RETRY, Transition.EDIT, Transition.SUBMIT_TOOL_RESULTS}
)
"""Moves that ask for an answer: they keep the trace of their request, in the last parameter."""


class TransitionExecutor:
    """Statements of callers' moves, each of which ends with the parameters of its key, if it has one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idempotency = IdempotencyStore(database)

    async def create(
        self, query: str, *args: object, key: IdempotencyKey | None
    ) -> TransitionResult:
        """A statement that makes a chat, or no row, when the owner may not have one more."""
        last = (*key_arguments(key), tracing.current_traceparent())
        while True:
            try:
                row = await self._database.fetchrow(query, *args, *last)
            except asyncpg.UniqueViolationError as error:
                kept = await self._stored_response(error, key)
            else:
                if row is not None:
                    return records.transition_result(row, Transition.CREATE)
                kept = None if key is None else await self._idempotency.lookup(key)
                if kept is None:
                    raise TooManyActiveChats
            if kept is not None:
                return records.transition_result(kept, Transition.CREATE)

    async def execute(
        self,
        transition: Transition,
        query: str,
        chat_id: UUID,
        *args: object,
        key: IdempotencyKey | None,
    ) -> TransitionResult:
        """A statement that moves one chat."""
        asks = (tracing.current_traceparent(),) if transition in _STARTS_TURN else ()
        (row,) = await self.execute_many(query, chat_id, *args, key=key, trailing_args=asks)
        return records.transition_result(row, transition)

    async def execute_many(
        self,
        query: str,
        chat_id: UUID,
        *args: object,
        key: IdempotencyKey | None,
        trailing_args: tuple[str | None, ...] = (),
    ) -> Sequence[records.Row]:
        """A statement that moves a chat, and others with it; its own row is the first.

        Said again with its key, the row that was kept is all that there is. A refusal is no answer
        that is kept; but what was done once is not refused when it is asked about again.
        """
        while True:
            try:
                found = await self._run(query, chat_id, *args, *key_arguments(key), *trailing_args)
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
        self, transition: Transition, query: str, chat_id: UUID, *args: object
    ) -> TransitionResult:
        """A statement that takes no key, as it can be repeated without harm."""
        (row,) = await self._run(query, chat_id, *args)
        return records.transition_result(row, transition)

    async def _run(self, query: str, *args: object) -> Sequence[asyncpg.Record]:
        while True:
            found = await self._database.fetch(query, *args)
            if not found:
                assert isinstance(args[0], UUID)  # noqa: S101 - every statement names its chat first
                raise ChatNotFound(args[0])
            outcome = found[0]["outcome"]
            if outcome == "done":
                return found
            if outcome != "again":  # each "again" is another's move that went through
                refusal = _ERRORS_BY_OUTCOME[outcome]
                raise refusal(_message_naming(refusal, found[0].get("named")), chat_id=args[0])

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
