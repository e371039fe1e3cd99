"""Results that a client submits, and the stored tool calls of a chat."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls, ToolResult
from support.factories import OWNER
from support.invariants import check_calls


def tool_results(*ids: str) -> list[ToolResult]:
    """Return a result for each call id."""
    return [ToolResult(tool_call_id=call_id, result={"of": call_id}) for call_id in ids]


async def submit_results(
    database: Database, chat: Chat, submitted: Sequence[ToolResult]
) -> TransitionResult:
    """Submit results as the owner of the chat."""
    return await ToolCalls(database).submit(chat.id, owner_id=OWNER, results=submitted)


async def stored_tool_calls(database: Database, chat_id: UUID) -> tuple[Any, list[Any], list[Any]]:
    """Return the chat, its messages and its ledger, and check that they agree."""
    (chat,) = await database.fetch("SELECT * FROM chats WHERE id = $1", chat_id)
    messages = await database.fetch(
        "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", chat_id
    )
    ledger = await database.fetch(
        "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position", chat_id
    )
    check_calls(chat, messages, ledger)
    return chat, messages, ledger
