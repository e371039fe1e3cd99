"""Chats that start others, as stored rows and by the store."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from chatd.domain.agents import Spawn, Wait
from chatd.domain.chat import Chat, Status
from chatd.domain.message import NewMessage, Role
from chatd.domain.tool_call import CallPolicy, CallState, NewToolCall
from chatd.store.children import Children
from chatd.store.commands import FinishTurn, Park
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns
from support.factories import WORKER, chat_with_status, text_content, tool_call_content


def fence_of(chat: Chat) -> FencingToken:
    """Return the fencing token of the worker that holds a chat."""
    return FencingToken(chat.id, chat.worker_id or WORKER, chat.epoch)


def spawn_of(call_id: str = "s1", prompt: str = "go", **values: Any) -> Spawn:
    """Return a chat that a call starts."""
    message = NewMessage(role=Role.USER, content=text_content(prompt))
    return Spawn(id=uuid5(NAMESPACE_OID, call_id), messages=[message], **values)


async def child_of(parent: Chat, database: Database, status: Status, **columns: Any) -> Chat:
    """Insert a child of this status."""
    family = {"parent_chat_id": parent.id, "root_chat_id": parent.root_chat_id}
    return await chat_with_status(database, status, **family, **columns)


async def park(
    database: Database,
    chat: Chat,
    *chat_ids: UUID,
    for_all: bool = True,
    seconds: float = 60.0,
    turns: Turns | None = None,
) -> TransitionResult:
    """Have a running chat wait for others by one call, which it makes now."""
    (part,) = tool_call_content("w1", tool="wait_agent")
    call = NewToolCall(
        part=part,
        message_id=None,
        state=CallState.PARKED,
        policy=CallPolicy.IDEMPOTENT,
        wait=Wait(chat_ids=chat_ids, for_all=for_all, seconds=seconds),
    )
    step = Park(
        step=chat.committed_steps,
        messages=[NewMessage(role=Role.ASSISTANT, content=(part,))],
        settled_part=0,
        calls=[call],
    )
    return await (turns or Turns(database)).apply(fence_of(chat), step)


async def finish(database: Database, chat: Chat, text: str = "done") -> Chat:
    """End the turn of a running chat with this answer."""
    answer = NewMessage(role=Role.ASSISTANT, content=text_content(text))
    end = FinishTurn(step=chat.committed_steps, messages=[answer], settled_part=0)
    return (await Turns(database).apply(fence_of(chat), end)).chat


async def wake_all(database: Database, *root_ids: UUID) -> Sequence[Chat]:
    """Return the chats that a sweep wakes, or one about these families alone."""
    woken = await Children(database).wake(root_ids, sweeps=not root_ids)
    return [result.chat for result in woken.chats]


async def result_of_wait(database: Database, chat: Chat) -> Any:
    """Return the result that the wait of a chat has."""
    rows = await database.fetch(
        "SELECT answer->'result' AS result FROM chat_tool_calls WHERE chat_id = $1", chat.id
    )
    (row,) = rows
    return row["result"]


async def reread(database: Database, chat: Chat) -> Chat:
    """Return a chat as it is stored now."""
    current = await Turns(database).current(chat.id)
    assert current is not None
    return replace(current)
