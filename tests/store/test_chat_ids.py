"""Chats whose id is given by their caller: made once, and never again after they were deleted."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from support.concurrency import gather_all
from support.factories import MODEL, OWNER, insert_models, text_content
from support.files import PNG
from support.keyed_requests import KEY

from chatd.domain.chat import Status
from chatd.domain.errors import ChatExists, ChatGone, ChatNotFound, IdempotencyKeyReused
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.records import TransitionResult


async def create(
    database: Database, chat_id: UUID, owner_id: str = OWNER, **request: Any
) -> TransitionResult:
    return await Chats(database).create(
        chat_id=chat_id,
        owner_id=owner_id,
        model_config_id=MODEL,
        **{"content": text_content("hello"), **request},
    )


async def count(database: Database, table: str) -> int:
    (row,) = await database.fetch(f"SELECT count(*) AS n FROM {table}")
    number: int = row["n"]
    return number


async def test_given_id_is_the_id(database: Database) -> None:
    await insert_models(database)
    chat_id = uuid4()
    made = (await create(database, chat_id)).chat
    assert (made.id, made.root_chat_id, made.status) == (chat_id, chat_id, Status.PENDING)


@pytest.mark.parametrize("keyed", [False, True], ids=["without keys", "with keys"])
async def test_twenty_creates_at_once_make_one_chat_and_one_turn(
    wide: Database, keyed: bool
) -> None:
    chat_id = uuid4()
    keys = [IdempotencyKey(OWNER, f"key {n}", b"x") if keyed else None for n in range(20)]
    results = await gather_all(
        *(settle(create(wide, chat_id, key=key)) for key in keys),
    )
    made = [result for result in results if isinstance(result, TransitionResult)]
    assert [result.chat.id for result in made] == [chat_id]
    assert results.count(ChatExists) == 19
    assert await count(wide, "chats") == 1
    assert await count(wide, "chat_messages") == 1
    assert await count(wide, "chat_events") == 1
    assert await count(wide, "idempotency_keys") == int(keyed)


async def test_repeats_of_one_request_get_its_response(wide: Database) -> None:
    chat_id = uuid4()
    results = await gather_all(*(create(wide, chat_id, key=KEY) for _ in range(20)))
    assert {result.chat.id for result in results} == {chat_id}
    assert sorted(result.replayed for result in results) == [False] + [True] * 19
    assert await count(wide, "chat_events") == 1
    with pytest.raises(IdempotencyKeyReused):
        await create(wide, uuid4(), key=IdempotencyKey(OWNER, KEY.key, b"another"))


async def settle(request: Any) -> Any:
    """Return the result of a request, or the class of its refusal."""
    try:
        return await request
    except (ChatExists, ChatGone, ChatNotFound) as error:
        return type(error)


async def test_id_of_a_stranger_is_not_found(database: Database) -> None:
    """Not even that it is taken, and by what, is told: it is as unknown as its chat."""
    await insert_models(database)
    chat_id = uuid4()
    made = (await create(database, chat_id, "bob")).chat
    with pytest.raises(ChatNotFound, match=str(chat_id)):
        await create(database, chat_id)
    await Chats(database).delete(chat_id, owner_id="bob")
    with pytest.raises(ChatNotFound, match=str(chat_id)):
        await create(database, chat_id)
    assert made.owner_id == "bob"
    assert await count(database, "chats") == 0


async def test_deleted_chat_is_not_created_again(database: Database) -> None:
    """A retry that comes late finds that its chat was deleted, by whatever key."""
    await insert_models(database)
    chat_id = uuid4()
    await create(database, chat_id)
    await Chats(database).delete(chat_id, owner_id=OWNER)
    for key in (None, KEY):
        with pytest.raises(ChatGone):
            await create(database, chat_id, key=key)
    assert await count(database, "chats") == 0


async def test_creates_and_deletes_at_once_leave_nothing(wide: Database) -> None:
    """Whichever is first, no request makes the chat twice."""
    chat_id = uuid4()
    await create(wide, chat_id)
    results = await gather_all(
        *(settle(create(wide, chat_id)) for _ in range(8)),
        *(settle(Chats(wide).delete(chat_id, owner_id=OWNER)) for _ in range(3)),
    )
    assert not [result for result in results if isinstance(result, TransitionResult)]
    assert await count(wide, "chats") == 0


async def test_history_stands_before_the_first_message(database: Database) -> None:
    await insert_models(database)
    image = new_file(PNG, media_type="image/png", name=None)
    call = {"type": "tool-call", "tool_call_id": "a", "tool_name": "sky", "args": "{}"}
    result = {"type": "tool-result", "tool_call_id": "a", "tool_name": "sky", "result": "blue"}
    history = [
        NewMessage(role=Role.USER, content=(image.reference(),), files=(image,)),
        NewMessage(role=Role.ASSISTANT, content=(call,)),
        NewMessage(role=Role.TOOL, content=(result,)),
        NewMessage(role=Role.ASSISTANT, content=text_content("It is blue.")),
    ]
    made = await create(
        database, uuid4(), history=history, system_prompt="be brief", content=text_content("why?")
    )
    roles = [message.role for message in made.messages]
    assert roles == [Role.SYSTEM, *(each.role for each in history), Role.USER]
    assert made.messages[2].content == (call,)
    assert made.chat.status is Status.PENDING
    assert await count(database, "chat_files") == 1
    assert await count(database, "chat_tool_calls") == 0, "nothing is open"


async def test_history_alone_asks_for_no_answer(database: Database) -> None:
    await insert_models(database)
    history = [NewMessage(role=Role.USER, content=text_content("Remember the sky."))]
    made = await create(database, uuid4(), history=history, content=None)
    assert made.chat.status is Status.WAITING
    assert made.chat.title == "Remember the sky."
    assert [message.content for message in made.messages] == [history[0].content]


async def test_history_that_ends_in_results_is_answered(database: Database) -> None:
    await insert_models(database)
    call = {"type": "tool-call", "tool_call_id": "a", "tool_name": "sky", "args": "{}"}
    result = {"type": "tool-result", "tool_call_id": "a", "tool_name": "sky", "result": "blue"}
    history = [
        NewMessage(role=Role.USER, content=text_content("Which colour?")),
        NewMessage(role=Role.ASSISTANT, content=(call,)),
        NewMessage(role=Role.TOOL, content=(result,)),
    ]
    made = await create(database, uuid4(), history=history, content=None, answers_history=True)
    assert made.chat.status is Status.PENDING
    assert made.chat.title == "Which colour?"
    assert await count(database, "chat_messages") == 3
