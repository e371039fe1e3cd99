"""Columns that statements return: of a chat those that a ``Chat`` is made of, and its tools only once."""

from dataclasses import FrozenInstanceError, fields

import pytest
from support.factories import insert_chat, insert_models
from support.queries import ALL_QUERIES

from chatd.domain.chat import Chat
from chatd.store.columns import CHAT_COLUMNS
from chatd.store.database import Database

OTHER_COLUMNS: dict[str, set[str]] = {
    "lapsed_worker_id": set(),  # only the reaper's statement looks at it
    "activity": {"reads.explain"},  # what it is about
    "round": set(),  # of the order of claims
    "held": {"reads.explain"},  # a reason why a chat is pending
    "turn_deadline_at": set(),  # a claim returns the seconds that are left
    "tools": {"turns.history"},  # once per claim
}
"""Columns of chats that no ``Chat`` has, with the only queries that return them."""


async def test_statements_return_no_other_columns_of_a_chat(database: Database) -> None:
    async with database.dedicated_connection() as connection:
        returned = {
            query.name: {
                attribute.name
                for attribute in (await connection.prepare(query.text)).get_attributes()
            }
            for query in ALL_QUERIES
        }
    for column, queries in OTHER_COLUMNS.items():
        assert {name for name, columns in returned.items() if column in columns} == queries
    with_a_chat = [columns for columns in returned.values() if "root_chat_id" in columns]
    assert len(with_a_chat) > 20
    assert all(set(CHAT_COLUMNS) <= columns for columns in with_a_chat)


async def test_every_other_column_of_a_chat_is_named_above(database: Database) -> None:
    rows = await database.fetch(
        "SELECT attname::text AS name FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
        " AND attrelid IN ('chats'::regclass, 'chat_tools'::regclass)"
    )
    assert {row["name"] for row in rows} - {*CHAT_COLUMNS, "chat_id"} == OTHER_COLUMNS.keys()


async def test_chat_of_a_row_has_all_fields_of_a_chat(database: Database) -> None:
    """It is made without its constructor, which would miss none."""
    await insert_models(database)
    chat = await insert_chat(database)
    assert vars(chat).keys() == {field.name for field in fields(Chat)}
    assert chat == Chat(**vars(chat))
    with pytest.raises(FrozenInstanceError):
        chat.title = "another"  # type: ignore[misc]
