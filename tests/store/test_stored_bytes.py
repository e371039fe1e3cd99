"""What is stored of a chat is added up on its row, and bounded for callers: per chat and per owner."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
    tool_call_content,
)
from support.stored_messages import queued_ids
from support.transitions import asked_calls

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatFull, StorageFull
from chatd.domain.files import File, new_file
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import CommitStep, FinishTurn, RequireAction
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.tool_calls import ToolCalls, ToolResult
from chatd.store.turns import FencingToken, Turns

KIB = 1024
LARGE = 64 * KIB
OVERHEAD = 200
"""More than the bytes of a small message around its text and its references to files."""


def file(size: int, first: int = 0) -> File:
    return new_file(bytes([first]) * size, media_type="image/png")


def limits(**most: int) -> Callable[[], ChatLimits]:
    return lambda: ChatLimits(**most)


async def stored(database: Database, chat: Chat) -> int:
    return (await ChatReader(database).chat(chat.id, owner_id=None)).stored_bytes


def content_of(*files: File) -> Any:
    return tuple(each.reference() for each in files)


async def test_transitions_add_what_they_store(database: Database) -> None:
    await insert_models(database)
    chats, picture = Chats(database), file(5 * KIB)
    tools = [{"name": "f", "description": "x" * 3 * KIB, "parameters": {"type": "object"}}]
    chat = (
        await chats.create(
            owner_id=OWNER,
            model_config_id=MODEL,
            content=text_content("x" * 2 * KIB),
            system_prompt="y" * KIB,
            tools=tools,
        )
    ).chat
    assert 6 * KIB < chat.stored_bytes < 6 * KIB + 3 * OVERHEAD

    async def sent(*, files: tuple[File, ...]) -> int:
        before = await stored(database, chat)
        await chats.send(chat.id, owner_id=OWNER, content=content_of(*files), files=files)
        return await stored(database, chat) - before

    assert 5 * KIB < await sent(files=(picture,)) < 5 * KIB + OVERHEAD
    assert await sent(files=(picture,)) < OVERHEAD, "the chat has it already"
    assert 5 * KIB < await sent(files=(file(5 * KIB, 1), picture)) < 5 * KIB + 2 * OVERHEAD


async def test_answer_counts_and_is_stored_beyond_every_limit(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, stored_bytes=10**9)
    turns, fence = Turns(database), FencingToken(chat.id, WORKER, 1)
    drawn = file(LARGE)
    for command, step in ((CommitStep, 0), (FinishTurn, 1)):
        message = NewMessage(
            role=Role.ASSISTANT,
            content=(*text_content("z" * KIB), drawn.reference()),
            model_config_id=MODEL,
            files=(drawn,),
        )
        before = await stored(database, chat)
        await turns.apply(fence, command(step=step, messages=[message], settled_part=0))
        added = await stored(database, chat) - before - KIB - (0 if step else LARGE)
        assert 0 < added < 3 * OVERHEAD
    rows = await database.fetch("SELECT size, data FROM chat_files")
    assert [(row["size"], row["data"]) for row in rows] == [(LARGE, drawn.data)]


async def test_calls_of_a_client_and_their_results_count(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, stored_bytes=7)
    [call] = tool_call_content("c1")
    asked = RequireAction(
        step=0,
        messages=[NewMessage(role=Role.ASSISTANT, content=(*text_content("z" * KIB), call))],
        calls=asked_calls([call]),
        timeouts={"result": 60.0},
        settled_part=0,
    )
    await Turns(database).apply(FencingToken(chat.id, WORKER, 1), asked)
    before = await stored(database, chat)
    assert 7 + KIB < before < 7 + KIB + 3 * OVERHEAD
    results = [ToolResult(tool_call_id="c1", result="x" * KIB)]
    await ToolCalls(database).submit(chat.id, owner_id=OWNER, results=results)
    assert before + KIB < await stored(database, chat) < before + KIB + OVERHEAD


async def interrupt(database: Database, chat: Chat) -> None:
    await Chats(database).interrupt(chat.id, owner_id=OWNER)


async def expire(database: Database, _: Chat) -> None:
    assert len(await ToolCalls(database).expire()) == 1


async def send_instead(database: Database, chat: Chat) -> None:
    await Chats(database).send(
        chat.id, owner_id=OWNER, content=text_content("x"), busy_behavior=BusyBehavior.INTERRUPT
    )


async def promote(database: Database, chat: Chat) -> None:
    [queued] = await queued_ids(database, chat)
    await Queue(database).promote(chat.id, queued, owner_id=OWNER)


@pytest.mark.parametrize("close_calls", [interrupt, expire, send_instead, promote])
async def test_results_that_close_open_calls_count(
    close_calls: Callable[[Database, Chat], Awaitable[None]], database: Database
) -> None:
    """They are small, but a chat has as many as its model makes calls."""
    queued = int(close_calls is promote)
    chat = await chat_with_status(database, Status.REQUIRES_ACTION, stored_bytes=7, queued=queued)
    await close_calls(database, chat)
    [row] = await database.fetch(
        "SELECT pg_column_size(content) AS size FROM chat_messages WHERE role = 'tool'"
    )
    added = await stored(database, chat) - 7
    assert row["size"] - OVERHEAD < added < row["size"] + OVERHEAD
    assert added > OVERHEAD


async def test_space_of_queued_messages_is_given_back(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, stored_bytes=7)
    chats, long = Chats(database), text_content("x" * KIB)
    for _ in range(3):
        await chats.send(chat.id, owner_id=OWNER, content=long)
    full = await stored(database, chat)
    assert full > 3 * KIB
    ids = await queued_ids(database, chat)
    await Queue(database).remove(chat.id, ids[0], owner_id=OWNER)
    assert (await stored(database, chat) - 7) * 3 == (full - 7) * 2
    await Queue(database).promote(chat.id, ids[2], owner_id=OWNER)
    assert (await stored(database, chat) - 7) * 3 == (full - 7) * 2, "still stored"
    (message, *_) = (await ChatReader(database).messages_after(chat.id, 0, limit=1)).items
    await Messages(database).edit(chat.id, message.id, owner_id=OWNER, content=long)
    assert 7 + KIB < await stored(database, chat) < 7 + KIB + OVERHEAD, "the queue is empty"

    failed = await chat_with_status(database, Status.ERROR, queued=1, stored_bytes=100)
    await database.fetch("UPDATE chat_queued_messages SET bytes = 60")
    await Messages(database).clear(failed.id, owner_id=OWNER)
    assert await stored(database, failed) == 40


Request = Callable[[Database, Chat, Callable[[], ChatLimits]], Awaitable[object]]


async def send(database: Database, chat: Chat, most: Callable[[], ChatLimits]) -> object:
    picture = file(LARGE)
    return await Chats(database, limits=most).send(
        chat.id, owner_id=OWNER, content=content_of(picture), files=[picture]
    )


async def edit(database: Database, chat: Chat, most: Callable[[], ChatLimits]) -> object:
    (message,) = (await ChatReader(database).messages_after(chat.id, 0, limit=1)).items
    return await Messages(database, limits=most).edit(
        chat.id, message.id, owner_id=OWNER, content=text_content("x" * LARGE)
    )


async def create(database: Database, chat: Chat, most: Callable[[], ChatLimits]) -> object:
    picture = file(LARGE)
    return await Chats(database, limits=most).create(
        owner_id=OWNER,
        model_config_id=MODEL,
        content=content_of(picture),
        files=[picture],
    )


async def submit(database: Database, chat: Chat, most: Callable[[], ChatLimits]) -> object:
    results = [ToolResult(tool_call_id=id_, result="x" * LARGE) for id_ in ("c1", "c2", "c3")]
    return await ToolCalls(database, limits=most).submit(chat.id, owner_id=OWNER, results=results)


REQUESTS = [
    pytest.param(send, Status.WAITING, id="send"),
    pytest.param(send, Status.RUNNING, id="queue"),
    pytest.param(edit, Status.WAITING, id="edit"),
    pytest.param(create, Status.WAITING, id="create"),
    pytest.param(submit, Status.REQUIRES_ACTION, id="submit"),
]


@pytest.mark.parametrize(("request_of", "status"), REQUESTS)
async def test_what_does_not_fit_is_refused_and_changes_nothing(
    request_of: Request, status: Status, database: Database
) -> None:
    held = 0 if request_of is create else LARGE
    chat = await chat_with_status(database, status, stored_bytes=held)
    other = await chat_with_status(database, Status.WAITING, stored_bytes=10 * LARGE)
    before = await stored_rows(database, chat)
    with pytest.raises(ChatFull):
        await request_of(database, chat, limits(max_chat_bytes=held + LARGE))
    with pytest.raises(StorageFull):
        await request_of(database, chat, limits(max_owner_bytes=11 * LARGE))
    assert await stored_rows(database, chat) == before
    assert await database.fetch("SELECT * FROM chat_files") == []
    await Chats(database).delete(other.id, owner_id=OWNER)
    await request_of(database, chat, limits(max_chat_bytes=9 * LARGE, max_owner_bytes=11 * LARGE))


async def test_space_of_an_owner_is_that_of_large_chats_and_asked_of_large_messages(
    database: Database,
) -> None:
    most = limits(max_owner_bytes=3 * LARGE)
    chat = await chat_with_status(database, Status.WAITING, stored_bytes=LARGE)
    for _ in range(3):
        await chat_with_status(database, Status.WAITING, stored_bytes=LARGE - 1)
        await chat_with_status(database, Status.WAITING, stored_bytes=9 * LARGE, owner_id="bob")
    await send(database, chat, most)
    with pytest.raises(StorageFull):
        await send_another(database, chat, most)
    await Chats(database, limits=most).send(
        chat.id, owner_id=OWNER, content=text_content("A text is no question of space.")
    )


async def send_another(database: Database, chat: Chat, most: Callable[[], ChatLimits]) -> object:
    picture = file(LARGE, first=1)
    return await Chats(database, limits=most).send(
        chat.id, owner_id=OWNER, content=content_of(picture), files=[picture]
    )
