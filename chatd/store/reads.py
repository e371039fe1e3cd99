"""What callers read: chats, messages, queue and journal, in pages."""

from uuid import UUID

from chatd.domain.chat import Chat
from chatd.domain.diagnostics import ChatDiagnostics
from chatd.domain.errors import ChatNotFound
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, QueuedMessage
from chatd.store import records, sql
from chatd.store.database import Database
from chatd.store.diagnostics import chat_diagnostics

_Q = sql.load("reads")

MAX_CHATS_AHEAD = 10_000
"""How far a line is counted."""


class ChatReader:
    """What callers see.

    ``chat`` and ``report_error`` ask whose a chat is (``owner_id`` None: anybody's): another owner's is
    ``ChatNotFound``. The pages do not: ask for the chat first.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chat(self, chat_id: UUID, *, owner_id: str | None) -> Chat:
        row = await self._database.fetchrow(_Q["chat"], chat_id=chat_id, owner_id=owner_id)
        if row is None:
            raise ChatNotFound(chat_id)
        return records.chat(row)

    async def messages_after(self, chat_id: UUID, message_id: int, *, limit: int) -> list[Message]:
        answer = await self._database.fetch(
            _Q["messages_after"], chat_id=chat_id, message_id=message_id, limit=limit
        )
        return [records.message(row) for row in answer]

    async def messages_before(self, chat_id: UUID, message_id: int, *, limit: int) -> list[Message]:
        """The latest ones before ``message_id``, oldest first."""
        answer = await self._database.fetch(
            _Q["messages_before"], chat_id=chat_id, message_id=message_id, limit=limit
        )
        return [records.message(row) for row in answer]

    async def queue(self, chat_id: UUID) -> list[QueuedMessage]:
        """The messages that wait, the next one first."""
        answer = await self._database.fetch(_Q["queue"], chat_id=chat_id)
        return [records.queued_message(row) for row in answer]

    async def journal_entries(self, chat_id: UUID, *, after: int, limit: int) -> list[JournalEntry]:
        """The journal, oldest first."""
        answer = await self._database.fetch(
            _Q["journal"], chat_id=chat_id, version=after, limit=limit
        )
        return [records.journal_entry(row) for row in answer]

    async def explain(
        self, chat_id: UUID, *, owner_id: str | None, lease_seconds: float
    ) -> ChatDiagnostics:
        """Why a chat is where it is, in one statement."""
        row = await self._database.fetchrow(
            _Q["explain"],
            chat_id=chat_id,
            owner_id=owner_id,
            lease_seconds=lease_seconds,
            max_ahead=MAX_CHATS_AHEAD,
        )
        if row is None:
            raise ChatNotFound(chat_id)
        return chat_diagnostics(row, lease_seconds=lease_seconds)

    async def ping(self) -> None:
        """Raise ``DatabaseUnavailable`` when it is."""
        await self._database.fetch(_Q["ping"])
