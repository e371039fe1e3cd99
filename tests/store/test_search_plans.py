"""Plans of a search in 200,000 messages, half of them of one owner, and of the index of new ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.factories import MODEL, OWNER
from support.filled_tables import fill_tables
from support.query_plans import BOTH, indexes, nodes, scanned

from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.database import Database

CHATS, MESSAGES_OF_CHAT = 2_000, 100
FILL = (
    f"""
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, version, updated_at)
    SELECT id, id, CASE WHEN n % 2 = 0 THEN '{OWNER}' ELSE 'owner ' || n % 40 END, '{MODEL}', 100,
           clock_timestamp() - n * interval '1 minute'
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, {CHATS}) n) made
    """,
    f"""
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT chats.id, chat_message_id(n, 1), n, 'user', jsonb_build_array(jsonb_build_object(
               'type', 'text', 'text', 'common word ' || n || CASE WHEN n = 7 THEN ' rare' ELSE '' END))
    FROM chats, generate_series(1, {MESSAGES_OF_CHAT}) n
    """,
    """
    INSERT INTO chat_message_words (chat_id, message_id, words)
    SELECT chats.id, m.id, array_to_tsvector(ARRAY[chat_owner_word(owner_id)])
           || to_tsvector('simple', chat_message_text(content))
    FROM chats JOIN chat_messages m ON m.chat_id = chats.id
    """,
    "INSERT INTO chat_search_positions SELECT id, chat_message_id(101, 0) FROM chats OFFSET 3",
    "VACUUM (ANALYZE) chat_message_words",
    "VACUUM (ANALYZE) chat_messages",
    "VACUUM (ANALYZE) chat_search_positions",
)


@pytest.fixture(scope="module")
def filled_dsn(module_dsn: str) -> str:
    """Fill the database of the module: it takes seconds, and no test here changes it."""
    asyncio.run(fill_tables(module_dsn, *FILL))
    return module_dsn


@pytest.fixture
async def connection(filled_dsn: str) -> AsyncIterator[Connection]:
    async with Database(filled_dsn).dedicated_connection() as opened:
        yield opened


async def run(connection: Connection, name: str, *, generic: bool, **values: str) -> Any:
    """Run a query with values as SQL. Return its plan."""
    query = sql.load("search")[name]
    query.check(values)
    mode = "force_generic_plan" if generic else "force_custom_plan"
    async with connection.transaction():
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE search_query AS {query.text}")
        answer = await connection.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE search_query"
            f" ({', '.join(values[name] for name in query.parameters)})"
        )
        await connection.execute("DEALLOCATE search_query")
    (root,) = json.loads(answer)
    return root["Plan"]


def buffers(plan: Any) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


PAGE = {
    "owner_id": f"'{OWNER}'", "config": "'simple'", "limit": "51", "before_updated_at": "NULL",
    "before_id": "NULL", "archived": "false", "statuses": "NULL", "only_roots": "false",
    "parent_chat_id": "NULL", "labels": "'{}'", "label_names": "'{}'",
}  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    ("words", "found", "most"),
    [("rare", 51, 8_000), ("rare 7", 51, 8_000), ("word 50", 51, 8_000), ("nowhere", 0, 40)],
)
async def test_search_reads_what_matches_by_the_index_of_words(
    connection: Connection, words: str, found: int, most: int, generic: bool
) -> None:
    """A word that each of the owner's 1,000 chats has once: some rows for each, and no table."""
    plan = await run(connection, "search_messages", **PAGE, words=f"'{words}'", generic=generic)
    assert plan["Actual Rows"] == found
    assert scanned(plan) == set()
    assert "chat_message_words_idx" in indexes(plan)
    (words_scan,) = [
        node for node in nodes(plan) if node.get("Relation Name") == "chat_message_words"
    ]
    assert words_scan["Actual Rows"] * words_scan["Actual Loops"] <= 1_000, "of this owner only"
    assert buffers(plan) < most


@BOTH
async def test_word_of_every_message_is_found_without_reading_the_messages(
    connection: Connection, generic: bool
) -> None:
    plan = await run(connection, "search_messages", **PAGE, words="'common'", generic=generic)
    assert plan["Actual Rows"] == 51
    assert scanned(plan) == set()
    messages = [node for node in nodes(plan) if node.get("Relation Name") == "chat_messages"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in messages) <= 51 * 20


@BOTH
async def test_indexing_reads_only_new_messages(connection: Connection, generic: bool) -> None:
    [row] = await connection.fetch(
        "SELECT array_agg(id) AS ids FROM (SELECT chat_id AS id FROM chat_search_positions LIMIT 100) c"
    )
    ids = ",".join(str(each) for each in row["ids"])
    plan = await run(
        connection,
        "index_chats",
        chat_ids=f"'{{{ids}}}'",
        limit="500",
        config="'simple'",
        generic=generic,
    )
    assert scanned(plan) == set()
    assert buffers(plan) < 100 * 15
