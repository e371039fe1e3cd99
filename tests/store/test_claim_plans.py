"""Cost of a claim in a table of 100,000 chats, 40,000 of them pending, also under a long snapshot."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support.factories import MODEL, OTHER_MODEL, WORKER
from support.filled_tables import copy_of, fill_tables
from support.query_plans import indexes, nodes, plan_of, scanned

from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.database import Database

FILL = f"""
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since, round,
                   held)
SELECT id, id, 'owner ' || n % 500, CASE WHEN n % 5 = 0 THEN '{OTHER_MODEL}' ELSE '{MODEL}' END::uuid,
       CASE WHEN pending THEN 'pending' ELSE 'waiting' END,
       CASE WHEN pending THEN clock_timestamp() - interval '1 hour' + n * interval '1 ms' END,
       2 + n / 500, pending AND n % 50 = 49
FROM (SELECT n, gen_random_uuid() AS id, n % 5 < 2 AS pending FROM generate_series(1, 100000) n) made;
UPDATE chats SET next_attempt_at = now() + interval '1 hour', attempts = 1,
                 pending_since = now() + interval '1 hour'
WHERE status = 'pending' AND NOT held AND round < 12;
UPDATE chats SET recoveries = 3
WHERE status = 'pending' AND NOT held AND next_attempt_at IS NULL AND round < 17;
"""
REQUEST: dict[str, Any] = {
    "worker_id": WORKER,
    "limit": 10,
    "models": [MODEL, OTHER_MODEL],
    "suspect_recoveries": 2,
    "suspects": 1,
    "oldest_first": False,
    "from_round": 0,
    "from_time": datetime(1970, 1, 1, tzinfo=UTC),
    "advance": True,
    "claim_traceparent": None,
    "excluded": [],
    "only": None,
}


@pytest.fixture(scope="module")
def filled_dsn(module_dsn: str) -> str:
    asyncio.run(fill_tables(module_dsn, *FILL.strip().split(";\n")))
    return module_dsn


@pytest.fixture
async def filled(filled_dsn: str) -> AsyncIterator[Connection]:
    """Yield a connection on the filled database. What a test changes is rolled back."""
    database = Database(filled_dsn, statement_timeout_seconds=60)
    async with database.dedicated_connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        yield connection
        await transaction.rollback()


@pytest.fixture
async def own_filled_dsn(filled_dsn: str) -> AsyncIterator[str]:
    """Yield a copy of the filled database, for a test that commits."""
    async with copy_of(filled_dsn) as dsn:
        yield dsn


def claim_query(**values: Any) -> tuple[str, tuple[object, ...]]:
    return sql.load("claims")["claim"].bind(**REQUEST | values)


async def buffers_of_search(connection: Connection, **values: Any) -> int:
    """Return the buffers that a claim reads to find and lock its chats."""
    text, args = claim_query(**values)
    search = re.sub(
        r"\), advanced AS MATERIALIZED \(.*", ") SELECT * FROM due", text, flags=re.DOTALL
    )
    used = [n for n in range(1, len(args) + 1) if re.search(rf"\${n}\b", search.partition("\n")[2])]
    for place, number in enumerate(used, 1):
        search = re.sub(rf"\${number}\b", f"${place}", search)
    answer = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {search}", *(args[n - 1] for n in used)
    )
    root = json.loads(answer)[0]["Plan"]
    assert root["Actual Rows"] == values.get("limit", REQUEST["limit"])
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
async def test_claim_reads_its_indexes_only(filled: Connection, generic: bool) -> None:
    text, args = claim_query()
    plan = await plan_of(filled, text, *args, generic=generic)
    assert "chats" not in scanned(plan)
    assert indexes(plan) == {
        "chats_line_idx",
        "chats_oldest_idx",
        "chats_returned_idx",
        "chats_pkey",
    }
    heads = [node for node in nodes(plan) if node.get("Index Name") == "chats_line_idx"]
    assert all("Filter" not in node for node in heads), "an entry of the index is a candidate"


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_claim_of_ten_finds_them_in_100_buffers(
    filled: Connection, oldest_first: bool
) -> None:
    assert await buffers_of_search(filled, oldest_first=oldest_first) <= 100


async def test_claim_passes_by_neither_deferred_chats_nor_suspects(filled: Connection) -> None:
    """Thousands were at the front of the line that may not be claimed, and are in no claim's way."""
    aside = (
        "SELECT count(*) FILTER (WHERE next_attempt_at IS NOT NULL) AS deferred,"
        " count(*) FILTER (WHERE recoveries > 2) AS suspects FROM chats"
    )
    counts = await filled.fetchrow(aside)
    assert min(counts["deferred"], counts["suspects"]) >= 1_000
    assert await buffers_of_search(filled, suspects=0) <= 100


async def test_claim_of_another_model_does_not_pass_by_the_line(filled: Connection) -> None:
    assert await buffers_of_search(filled, models=[OTHER_MODEL]) <= 100


async def test_round_of_a_new_chat_costs_few_buffers(filled: Connection) -> None:
    body = await filled.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'chat_next_round'")
    for owner in ("owner 1", "nobody"):
        answer = await filled.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {body.replace('= owner', '= $1')}", owner
        )
        root = json.loads(answer)[0]["Plan"]
        assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] <= 12


async def test_claim_under_a_long_snapshot_begins_behind_the_claimed_chats(
    own_filled_dsn: str,
) -> None:
    """A dump keeps the index entries of claimed chats. A claim that knows its bounds reads none of them."""
    database = Database(own_filled_dsn, statement_timeout_seconds=60)
    async with (
        database.dedicated_connection() as dump,
        database.dedicated_connection() as connection,
    ):
        await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM workers")
        await connection.execute(
            "UPDATE chats SET status = 'waiting', pending_since = NULL"
            " WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL"
            " AND round < 122"
        )
        begun = (
            "SELECT min(round), min(pending_since) FROM chats WHERE status = 'pending' AND NOT held"
            " AND recoveries = 0 AND next_attempt_at IS NULL"
        )
        round_, since = await connection.fetchrow(begun)
        for oldest_first in (False, True):
            whole = await buffers_of_search(connection, oldest_first=oldest_first)
            bounded = await buffers_of_search(
                connection, oldest_first=oldest_first, from_round=round_, from_time=since
            )
            assert whole > 1_000, "the entries are still there"
            assert bounded <= 120
