"""The moves that callers make."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.chat import Busy
from chatd.domain.errors import (
    ChatArchived,
    ChatBusy,
    ChatNotFound,
    FamilyBusy,
    QueueFull,
    Refused,
)
from chatd.domain.failure import storable, storable_value
from chatd.domain.message import Content, NewMessage, Role
from chatd.domain.moves import Move
from chatd.store import rows, sql
from chatd.store.pool import Database
from chatd.store.rows import Moved
from chatd.store.turns import as_given

_Q = sql.load("chats")
_READ = sql.load("reads")

_REFUSALS: Mapping[str, type[Refused]] = {
    "archived": ChatArchived,
    "busy": ChatBusy,
    "full": QueueFull,
}


class Chats:
    """Create chats and change them, as their owner (None: whoever's they are).

    Another owner's chat is ``ChatNotFound``.
    """

    def __init__(self, database: Database, *, max_queued_messages: int = 20) -> None:
        self._database = database
        self.max_queued_messages = max_queued_messages

    async def create(
        self,
        *,
        owner_id: str,
        model_config_id: UUID,
        content: Content | None = None,
        title: str = "",
        system_prompt: str | None = None,
        labels: Mapping[str, str] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Moved:
        """A new chat: pending when ``content`` asks for an answer, else waiting."""
        messages = []
        if system_prompt is not None:
            prompt = ({"type": "text", "text": system_prompt},)
            messages.append(NewMessage(role=Role.SYSTEM, content=prompt))
        if content is not None:
            messages.append(
                NewMessage(role=Role.USER, content=content, model_config_id=model_config_id)
            )
        row = await self._database.fetchrow(
            _Q["create"],
            owner_id,
            storable(title),
            storable_value(labels or {}),
            model_config_id,
            as_given(messages),
            content is not None,
            storable_value(tools),
        )
        assert row is not None  # noqa: S101 - an INSERT of one row returns one row
        return rows.moved(row, Move.CREATE)

    async def send(
        self,
        chat_id: UUID,
        *,
        owner_id: str | None,
        content: Content,
        model_config_id: UUID | None = None,
        busy: Busy = Busy.QUEUE,
    ) -> Moved:
        """A message of the user; ``queued`` is set when it has to wait.

        Raises:
            ChatNotFound, ChatArchived, ChatBusy (``busy`` is reject), QueueFull
        """
        row = await self._until_fresh(
            _Q["send"],
            chat_id,
            owner_id,
            storable_value(content),
            model_config_id,
            busy.value,
            self.max_queued_messages,
        )
        return rows.moved(row, Move.SEND)

    async def interrupt(self, chat_id: UUID, *, owner_id: str | None) -> Moved:
        """Stop what the chat is doing. Safe to repeat; a chat at rest is left as it is."""
        row = await self._until_fresh(_Q["interrupt"], chat_id, owner_id)
        if row["outcome"] == "unchanged":
            return await self._unchanged(chat_id, owner_id)
        return rows.moved(row, Move.INTERRUPT)

    async def describe(
        self,
        chat_id: UUID,
        *,
        owner_id: str | None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Moved:
        """Change title or labels, whatever the chat is doing."""
        row = await self._until_fresh(
            _Q["describe"],
            chat_id,
            owner_id,
            None if title is None else storable(title),
            None if labels is None else storable_value(labels),
        )
        return rows.moved(row, Move.DESCRIBE)

    async def archive(
        self, chat_id: UUID, *, owner_id: str | None, archived: bool = True
    ) -> list[Moved]:
        """Archive (or bring back) the whole family of a chat, which comes first, or nothing.

        Raises:
            ChatNotFound, FamilyBusy
        """
        answer = await self._database.fetch(_Q["archive"], chat_id, owner_id, archived)
        if not answer:
            raise ChatNotFound(chat_id)
        if answer[0]["outcome"] != "done":
            raise FamilyBusy
        move = Move.ARCHIVE if archived else Move.UNARCHIVE
        changed = [rows.moved(row, move) for row in answer if row["id"] is not None]
        if any(one.chat.id == chat_id for one in changed):
            return changed
        return [await self._unchanged(chat_id, owner_id), *changed]

    async def _until_fresh(self, query: str, chat_id: UUID, *args: object) -> asyncpg.Record:
        while True:
            row = await self._database.fetchrow(query, chat_id, *args)
            if row is None:
                raise ChatNotFound(chat_id)
            if row["outcome"] in _REFUSALS:
                raise _REFUSALS[row["outcome"]](chat_id=chat_id)
            if row["outcome"] != "again":  # each "again" is another's move that went through
                return row

    async def _unchanged(self, chat_id: UUID, owner_id: str | None) -> Moved:
        row = await self._database.fetchrow(_READ["chat"], chat_id, owner_id)
        if row is None:
            raise ChatNotFound(chat_id)
        return Moved(chat=rows.chat(row), entry=None)
