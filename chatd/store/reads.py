"""Reads for callers: chats, and pages of messages, queue and journal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from chatd.domain.agents import Family
from chatd.domain.chat import Chat
from chatd.domain.diagnostics import ChatDiagnostics
from chatd.domain.errors import ChatNotFound, DatabaseUnavailable
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, QueuedMessage
from chatd.domain.sanitize import replace_unstorable
from chatd.domain.tool_call_record import ToolCallRecord
from chatd.store import records, sql
from chatd.store.database import Database
from chatd.store.diagnostics import chat_diagnostics
from chatd.store.limits import PAGE_BYTES
from chatd.store.records import Row
from chatd.store.tool_call_records import tool_call_record

_Q = sql.load("reads")

MAX_CHATS_AHEAD = 1_000
"""Upper bound of the count of pending chats ahead of one."""
MAX_OPEN_CALLS = 50
"""Open tool calls that explain a chat. A model rarely makes so many at once."""


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of items, of up to ``limit`` items and about ``max_bytes``, but one item at least."""

    items: Sequence[Item]
    has_more: bool
    """True if the list goes on."""


def _page(rows: Sequence[Row], read: Callable[[Row], Item]) -> Page[Item]:
    return Page([*map(read, rows)], bool(rows) and rows[0]["available"] > len(rows))


class ChatReader:
    """Store for reads of one chat.

    Another owner's chat is ``ChatNotFound``, and None stands for any owner. The pages take no owner and
    check none, so read the chat first.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chat(self, chat_id: UUID, *, owner_id: str | None) -> Chat:
        """Return a chat."""
        row = await self._database.fetchrow(_Q["chat"], chat_id=chat_id, owner_id=owner_id)
        if row is None:
            raise ChatNotFound(chat_id)
        return records.chat(row)

    async def chat_with_family(
        self, chat_id: UUID, *, owner_id: str | None
    ) -> tuple[Chat, Family | None]:
        """Return a chat, and its family if it is the root of one that has other chats."""
        row = await self._database.fetchrow(
            _Q["chat_with_family"], chat_id=chat_id, owner_id=owner_id
        )
        if row is None:
            raise ChatNotFound(chat_id)
        return records.chat(row), records.family(row)

    async def messages_after(
        self, chat_id: UUID, message_id: int, *, limit: int, max_bytes: int = PAGE_BYTES
    ) -> Page[Message]:
        """Return the first messages after ``message_id``, oldest first."""
        rows = await self._database.fetch(
            _Q["messages_after"],
            chat_id=chat_id,
            message_id=message_id,
            limit=limit,
            max_bytes=max_bytes,
        )
        return _page(rows, records.message)

    async def messages_before(
        self, chat_id: UUID, message_id: int, *, limit: int, max_bytes: int = PAGE_BYTES
    ) -> Page[Message]:
        """Return the last messages before ``message_id``, oldest first."""
        rows = await self._database.fetch(
            _Q["messages_before"],
            chat_id=chat_id,
            message_id=message_id,
            limit=limit,
            max_bytes=max_bytes,
        )
        return _page(rows, records.message)

    async def message_by_client_key(
        self, chat_id: UUID, key: str, *, owner_id: str | None
    ) -> Message | QueuedMessage | None:
        """Return the user's message that a client knows by this key (``with_client_key``).

        It is in the history or in the queue. None: the chat has no such message, or has it no more. Of
        several in the history, it is the last.
        """
        return (await self.chat_and_message(chat_id, key, owner_id=owner_id))[1]

    async def chat_and_message(
        self, chat_id: UUID, key: str, *, owner_id: str | None
    ) -> tuple[Chat, Message | QueuedMessage | None]:
        """Return a chat, and what ``message_by_client_key`` returns."""
        row = await self._database.fetchrow(
            _Q["message_by_client_key"],
            chat_id=chat_id,
            client_key=replace_unstorable(key),
            owner_id=owner_id,
        )
        if row is None:
            raise ChatNotFound(chat_id)
        if row["message"] is not None:
            return records.chat(row), records.message(row["message"])
        queued = row["queued"]
        return records.chat(row), None if queued is None else records.queued_message(queued)

    async def queue(
        self, chat_id: UUID, queued_id: int = 0, *, limit: int, max_bytes: int = PAGE_BYTES
    ) -> Page[QueuedMessage]:
        """Return the first queued messages after ``queued_id``, the head first."""
        rows = await self._database.fetch(
            _Q["queue"], chat_id=chat_id, queued_id=queued_id, limit=limit, max_bytes=max_bytes
        )
        return _page(rows, records.queued_message)

    async def tool_calls(
        self, chat_id: UUID, message_id: int, *, limit: int
    ) -> Page[ToolCallRecord]:
        """Return the calls of the first messages after ``message_id``, all of each message."""
        rows = await self._database.fetch(
            _Q["tool_calls"], chat_id=chat_id, message_id=message_id, limit=limit
        )
        return Page([*map(tool_call_record, rows)], len(rows) >= limit)

    async def journal_entries(self, chat_id: UUID, *, after: int, limit: int) -> list[JournalEntry]:
        """Return the first ``limit`` journal entries after version ``after``, oldest first."""
        rows = await self._database.fetch(
            _Q["journal"], chat_id=chat_id, version=after, limit=limit
        )
        return [records.journal_entry_with_actor(row) for row in rows]

    async def explain(
        self, chat_id: UUID, *, owner_id: str | None, lease_seconds: float
    ) -> ChatDiagnostics:
        """Return what explains the status of a chat, as of one moment."""
        row = await self._database.fetchrow(
            _Q["explain"],
            chat_id=chat_id,
            owner_id=owner_id,
            lease_seconds=lease_seconds,
            max_ahead=MAX_CHATS_AHEAD,
            max_calls=MAX_OPEN_CALLS,
        )
        if row is None:
            raise ChatNotFound(chat_id)
        return chat_diagnostics(row, lease_seconds=lease_seconds)

    async def ping(self) -> None:
        """Raise ``DatabaseUnavailable`` if the database does not answer, or accepts no writes."""
        row = await self._database.fetchrow(_Q["ping"])
        if row is None or row["read_only"]:
            raise DatabaseUnavailable("The database is read-only.")
