"""Histories of compacted chats: known ones are those that would be read, and reads cost what is shown."""

import json
from typing import Any
from uuid import UUID

import pytest
from support.claim_on_send import Case, Way
from support.compacted_chat import PROMPT, CompactedChat
from support.factories import MODEL, OWNER, insert_chat, insert_models, text_content
from support.query_plans import scanned

from chatd.domain.message import NewMessage, Role
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.turns import Turns

TURNS = 5


async def twice_compacted(database: Database) -> tuple[CompactedChat, list[int]]:
    """Return a chat, and its messages of the user: the last two are after both summaries.

    The second summary is stored after the fourth, and the fifth after that.
    """
    chat = await CompactedChat.create(database)
    asked = [await chat.turn(text) for text in "abc"]
    await chat.compact(chat.before(asked[1]), "first summary")
    asked.append(await chat.turn("d"))
    await chat.compact(chat.before(asked[3]), "second summary")
    asked.append(await chat.turn("e"))
    return chat, asked


async def test_history_of_the_worker_is_the_one_that_would_be_read(database: Database) -> None:
    """It grows by what each transition returns, also by a summary, which takes its place."""
    chat = await CompactedChat.create(database)
    turns = Turns(database)
    for text in "abc":
        last = await chat.turn(text)
    known = await turns.history(chat.id)
    for until in (last - 1, max(chat.messages)):
        result = await chat.compact(max(i for i in chat.messages if i <= until), f"up to {until}")
        known = known.with_messages(result.model_messages)
        assert known == await turns.history(chat.id)
        assert known.size == (await turns.history(chat.id)).size
    assert [one.content[0]["text"] for one in known.messages] == [PROMPT, f"up to {until}"]


async def test_later_instructions_are_not_compacted(database: Database) -> None:
    """A system message may be sent with any message. What is read has it, as what is known does."""
    chat = await CompactedChat.create(database)
    turns = Turns(database)
    await chat.turn("a")
    rules = NewMessage(role=Role.SYSTEM, content=text_content("in rhymes"))
    sent = await Chats(database).send(
        chat.id, owner_id=OWNER, content=text_content("b"), earlier=[rules]
    )
    await chat.answer("answer to b")
    known = await turns.history(chat.id)
    result = await chat.compact(sent.messages[-1].id, "summary")
    known = known.with_messages(result.model_messages)
    assert known == await turns.history(chat.id)
    texts = [one.content[0]["text"] for one in known.messages]
    assert texts == [PROMPT, "in rhymes", "summary", "answer to b"]


@pytest.mark.parametrize("position", range(TURNS))
@pytest.mark.parametrize("transition", [Transition.EDIT, Transition.REGENERATE])
async def test_history_known_at_an_edit_is_the_one_that_would_be_read(
    database: Database, transition: Transition, position: int
) -> None:
    chat, asked = await twice_compacted(database)
    request = {"message_id": asked[position]}
    way = Way(database, Case(name="edit", claims=True, transition=transition, request=request))
    turns = Turns(database, histories=way.histories)
    turns.keep_history(chat.chat, await turns.history(chat.id))
    await way.request(chat.chat, claim_on_send=True)()
    [claim] = way.claims
    if position < 3:
        assert claim.history is None, "it has what the second summary covered again"
    else:
        assert claim.history == await turns.history(chat.id)


async def test_history_known_at_a_send_is_the_one_that_would_be_read(database: Database) -> None:
    chat, _ = await twice_compacted(database)
    way = Way(database, Case(name="send", claims=True))
    turns = Turns(database, histories=way.histories)
    turns.keep_history(chat.chat, await turns.history(chat.id))
    await way.request(chat.chat, claim_on_send=True)()
    [claim] = way.claims
    assert claim.history == await turns.history(chat.id)
    assert len(claim.history.messages) == 7


FILL = """
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT $1, chat_message_id(n, 1), n, CASE n WHEN 1 THEN 'system' ELSE 'user' END,
       jsonb_build_array(jsonb_build_object('type', 'text', 'text', repeat(md5(n::text), 20)))
FROM generate_series($2::bigint, $3::bigint) n
"""
SUMMARY = """
INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, covers_until)
SELECT $1, chat_message_id(n, 5), n, 'user', '[{"type": "text", "text": "so far"}]', 'model',
       chat_message_id(n - 50, 1)
FROM generate_series(100, $2::bigint, 50) n
"""
OTHER_CHATS = """
WITH others AS (
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id)
    SELECT id, id, 'bob', $1 FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 3000)) n
    RETURNING id
)
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT id, chat_message_id(n, 1), n, 'user', '[]' FROM others, generate_series(1, 5) n
"""
LIVE = 100


async def chat_of(database: Database, messages: int) -> UUID:
    """Return a chat that was compacted every 50 messages, but for the last ``LIVE``."""
    chat = await insert_chat(database, version=messages + 1)
    await database.fetch(FILL, chat.id, 1, messages)
    await database.fetch(SUMMARY, chat.id, messages - LIVE + 50)
    return chat.id


async def blocks(database: Database, file: str, name: str, **values: Any) -> tuple[int, int]:
    """Return the blocks that a query reads by the plan for any values, and the rows that it returns."""
    text, args = sql.load(file)[name].bind(**values)
    given = ", ".join(f"'{value}'" for value in args)
    async with database.dedicated_connection() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE explained AS {text}")
        answer = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({given})"
        )
    root = json.loads(answer)[0]["Plan"]
    assert scanned(root) == set()
    return root["Shared Hit Blocks"] + root["Shared Read Blocks"], root["Actual Rows"]


async def test_turn_of_a_long_chat_reads_what_one_of_a_short_chat_reads(
    database: Database,
) -> None:
    """One has 10,000 messages, of which its summary covers all but the last ``LIVE``."""
    await insert_models(database)
    short, long = [await chat_of(database, messages) for messages in (LIVE + 50, 10_000)]
    await database.fetch(OTHER_CHATS, MODEL)
    async with database.dedicated_connection() as connection:
        await connection.execute("VACUUM ANALYZE chat_messages")
    for file, name, more in (
        ("turns", "history", {}),
        ("stream_reads", "snapshot", {"owner_id": OWNER, "since": 0, "max_bytes": 50_000}),
        ("reads", "messages_before", {"message_id": 2**60, "limit": 50, "max_bytes": 50_000}),
    ):
        of_short, rows_of_short = await blocks(database, file, name, chat_id=short, **more)
        of_long, rows_of_long = await blocks(database, file, name, chat_id=long, **more)
        assert rows_of_short == rows_of_long, name
        assert of_long <= of_short + 6, (name, of_short, of_long)
    turns = Turns(database)
    histories = [await turns.history(chat_id) for chat_id in (short, long)]
    assert [len(history.messages) for history in histories] == [LIVE + 1 + 1] * 2
