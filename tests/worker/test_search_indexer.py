"""The search indexer: messages of this process within seconds, and all others by its walk."""

from uuid import UUID

import pytest
from support.eventually import eventually
from support.factories import MODEL, OWNER, insert_chat, insert_models, text_content
from support.in_process import running_daemon
from support.metrics import MetricsObserver
from support.stored_messages import insert_message

from chatd.domain.chat import Chat
from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.changed_chats import ChangedChats
from chatd.store.chats import Chats
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.message_search import IndexedBatch, MessageSearch
from chatd.store.sweeps import MESSAGE_WORDS, SEARCH_POSITIONS, Sweeps
from chatd.worker import search_indexer
from chatd.worker.search_indexer import SearchIndexer


async def new_chat(database: Database, changed: ChangedChats, text: str | None = "needle") -> Chat:
    await insert_models(database)
    listener = CommitListener(on_commit=lambda entries, _: changed.note(entries))
    created = await Chats(database, listener=listener).create(
        owner_id=OWNER,
        model_config_id=MODEL,
        content=None if text is None else text_content(text),
    )
    return created.chat


def indexer_of(database: Database, changed: ChangedChats) -> SearchIndexer:
    return SearchIndexer(MessageSearch(database), Sweeps(database), changed)


async def indexed(database: Database) -> int:
    return len(await database.fetch("SELECT FROM chat_message_words"))


async def test_messages_of_this_process_are_indexed_and_idle_costs_no_statement(
    database: Database,
) -> None:
    changed = ChangedChats()
    indexer = indexer_of(database, changed)
    assert await indexer.step() is False
    await new_chat(database, changed)
    await Chats(database).describe(
        (await new_chat(database, changed)).id, owner_id=OWNER, title="t"
    )
    assert len(changed) == 2
    assert await indexer.step() is False
    assert await indexed(database) == 2
    before = database.statement_count
    for _ in range(10):
        assert await indexer.step() is False
    assert database.statement_count == before


async def test_changes_without_messages_are_not_noted(database: Database) -> None:
    changed = ChangedChats()
    chat = await new_chat(database, changed)
    changed.take(1)
    listener = CommitListener(on_commit=lambda entries, _: changed.note(entries))
    await Chats(database, listener=listener).describe(chat.id, owner_id=OWNER, title="t")
    assert len(changed) == 0
    await Chats(database, listener=listener).fork(chat.id, owner_id=OWNER)
    assert len(changed) == 1


async def test_large_chat_is_indexed_in_several_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "_MAX_MESSAGES", 2)
    changed = ChangedChats()
    chat = await new_chat(database, changed)
    for _ in range(4):
        await insert_message(database, chat, "assistant", "needle")
    indexer = indexer_of(database, changed)
    steps = 1
    while await indexer.step():
        steps += 1
    assert (steps, await indexed(database)) == (3, 5)


async def test_walk_finds_what_nobody_has_indexed(database: Database) -> None:
    """As after a crash of the process, or of the server, which empties the index."""
    elsewhere = ChangedChats()
    chats = [await new_chat(database, elsewhere) for _ in range(3)]
    await insert_chat(database)
    await indexer_of(database, elsewhere).step()
    await database.fetch("DELETE FROM chat_sweeps")
    await database.fetch("DELETE FROM chat_search_positions WHERE chat_id = $1", chats[0].id)
    await database.fetch("DELETE FROM chat_message_words WHERE chat_id = $1", chats[0].id)
    changed = ChangedChats()
    indexer = indexer_of(database, changed)
    await indexer.walk()
    assert changed.take(9) == [chats[0].id]
    await indexer.walk()
    assert len(changed) == 0, "another walk had this minute"
    await database.fetch("DELETE FROM chat_sweeps")
    assert await indexer.step() is False
    assert await indexed(database) == 3


async def test_batch_that_finds_no_database_is_taken_up_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = ChangedChats()
    chat = await new_chat(database, changed)
    indexer = indexer_of(database, changed)

    async def away(*_: object, **__: object) -> IndexedBatch:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(MessageSearch, "index", away)
        with pytest.raises(DatabaseUnavailable):
            await indexer.step()
    assert changed.oldest_seconds > 0
    assert changed.take(2) == [chat.id]


async def test_chat_that_cannot_be_indexed_keeps_no_other_from_it(database: Database) -> None:
    changed = ChangedChats()
    poisoned, healthy = [await new_chat(database, changed) for _ in range(2)]
    async with database.dedicated_connection() as connection:
        await connection.execute(
            "ALTER TABLE chat_message_words ADD CONSTRAINT refuses CHECK"
            f" (chat_id <> '{poisoned.id}')"
        )
    await indexer_of(database, changed).step()
    rows = await database.fetch("SELECT chat_id FROM chat_message_words")
    assert [row["chat_id"] for row in rows] == [healthy.id]


def test_list_is_bounded() -> None:
    changed = ChangedChats(max_chats=2)
    ids = [UUID(int=n) for n in range(4)]
    changed.add(ids)
    assert (len(changed), changed.take(1), changed.take(9)) == (2, ids[:1], ids[1:2])
    assert changed.oldest_seconds == 0.0


async def test_messages_of_a_turn_are_found_and_counted(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "_INTERVAL_SECONDS", 0.05)
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("a needle in the haystack")
        await chatd.api.wait_for_status(chat["id"], "waiting")

        async def found() -> dict[str, object] | None:
            answer = await chatd.api.http.get(
                "/api/v1/chats", params={"q": "said needle", "in": "messages"}
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            return page if page["items"] else None

        page = await eventually(found)
        assert [item["id"] for item in page["items"]] == [chat["id"]]
        assert page["matches"][chat["id"]]["role"] == "assistant"
        await meter.wait_for_increase("chatd_search_indexed_messages_total", 2)
        await meter.wait_for_value("chatd_search_waiting_chats", 0)
        await meter.wait_for_value("chatd_search_lag_seconds", 0)


async def test_words_of_hidden_messages_and_deleted_chats_are_swept(database: Database) -> None:
    changed = ChangedChats()
    chats = [await new_chat(database, changed) for _ in range(3)]
    await indexer_of(database, changed).step()
    await database.fetch("DELETE FROM chats WHERE id = $1", chats[0].id)
    await database.fetch(
        "UPDATE chat_messages SET superseded_version = 2 WHERE chat_id = $1", chats[1].id
    )
    for table, left in (
        (MESSAGE_WORDS, [chats[2].id]),
        (SEARCH_POSITIONS, [c.id for c in chats[1:]]),
    ):
        await Sweeps(database).delete_expired(
            table, first_page=0, end_page=1000, retention_seconds=None, limit=100
        )
        rows = await database.fetch(f"SELECT chat_id FROM {table}")
        assert {row["chat_id"] for row in rows} == set(left)
