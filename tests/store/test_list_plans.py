"""Plans of the list of an owner with 100,000 chats, among other owners with as many in total.

The cost of a page is counted in buffers of the database, which do not depend on the load of the machine.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from support.factories import MODEL, OWNER
from support.filled_tables import fill_tables
from support.query_plans import BOTH, indexes, kinds, nodes, scanned

from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.database import Database

CHATS = 100_000
DEPTH = 90_000
PARENT = UUID("00000000-0000-4000-8000-00000000000f")
FILL = f"""
INSERT INTO chats (id, root_chat_id, owner_id, title, last_model_config_id, status, last_error, labels,
                   archived, updated_at)
SELECT id, id, CASE WHEN n % 2 = 0 THEN '{OWNER}' ELSE 'owner ' || n % 40 END, 'Chat number ' || n,
       '{MODEL}', status, CASE WHEN status = 'error' THEN 'no' END,
       CASE WHEN n % 10 = 0 THEN jsonb_build_object('team', 'red', 'project', (n % 500)::text)
            ELSE '{{}}' END,
       n % 3 = 0, clock_timestamp() - n * interval '1 minute'
FROM (SELECT n, CASE n WHEN 0 THEN '{PARENT}'::uuid ELSE gen_random_uuid() END AS id,
             CASE n % 4 WHEN 0 THEN 'error' ELSE 'waiting' END AS status
      FROM generate_series(0, 2 * {CHATS}) n) made;
UPDATE chats SET parent_chat_id = '{PARENT}', root_chat_id = '{PARENT}'
WHERE owner_id = '{OWNER}' AND id <> '{PARENT}' AND title LIKE '%00';
"""


@pytest.fixture(scope="module")
def filled_dsn(module_dsn: str) -> str:
    """Fill the database of the module: it takes seconds, and no test here changes it."""
    asyncio.run(fill_tables(module_dsn, FILL))
    return module_dsn


@pytest.fixture
async def connection(filled_dsn: str) -> AsyncIterator[Connection]:
    async with Database(filled_dsn).dedicated_connection() as opened:
        yield opened


async def run(connection: Connection, name: str, *, generic: bool = True, **values: str) -> Any:
    """Run a query of lists with values as SQL. Return its plan."""
    query = sql.load("chat_lists")[name]
    query.check(values)
    mode = "force_generic_plan" if generic else "force_custom_plan"
    await connection.execute(f"SET plan_cache_mode = {mode}")
    await connection.execute(f"PREPARE list_query AS {query.text}")
    answer = await connection.fetchval(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE list_query"
        f" ({', '.join(values[name] for name in query.parameters)})"
    )
    await connection.execute("DEALLOCATE list_query")
    (root,) = json.loads(answer)
    return root["Plan"]


def buffers(plan: Any) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def cursor_at(connection: Connection, depth: int) -> dict[str, str]:
    row = await connection.fetchrow(
        "SELECT updated_at, id FROM chats WHERE owner_id = $1 ORDER BY 1 DESC, 2 DESC OFFSET $2",
        OWNER,
        depth,
    )
    assert row is not None
    return {"before_updated_at": f"'{row[0].isoformat()}'", "before_id": f"'{row[1]}'"}


PAGE = {"owner_id": f"'{OWNER}'", "limit": "51"}
FIRST = {"before_updated_at": "NULL", "before_id": "NULL"}
ANY = {"archived": "NULL", "statuses": "NULL", "only_roots": "false"}
PLAIN = {
    "everything": ANY,
    "not archived": {**ANY, "archived": "false"},
    "archived": {**ANY, "archived": "true"},
    "status": {**ANY, "statuses": "'{error,running}'"},
    "roots": {**ANY, "only_roots": "true"},
    "all of it": {"archived": "false", "statuses": "'{waiting}'", "only_roots": "true"},
}
NOTHING = {"labels": "'{}'", "label_names": "'{}'", "title_contains": "NULL"}
MATCHING = {
    "label": {**NOTHING, "labels": 'array[\'{"team": "red"}\'::jsonb]'},
    "name": {**NOTHING, "label_names": "'{project}'"},
    "words": {**NOTHING, "title_contains": "'NUMBER'"},
}


@BOTH
@pytest.mark.parametrize("filters", PLAIN.values(), ids=PLAIN)
async def test_page_reads_only_its_index(
    connection: Connection, filters: dict[str, str], generic: bool
) -> None:
    """The cost of a page does not depend on its position in the list."""
    costs = []
    for before in (FIRST, await cursor_at(connection, DEPTH)):
        result = await run(connection, "page", **PAGE, **before, **filters, generic=generic)
        assert result["Actual Rows"] == 51
        assert scanned(result) == set()
        assert not kinds(result) & {"Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan"}
        (inner,) = (node for node in nodes(result) if node["Node Type"] == "Index Only Scan")
        assert inner["Index Name"] == "chats_owner_updated_idx"
        assert inner["Heap Fetches"] == 0
        assert indexes(result) == {"chats_owner_updated_idx", "chats_pkey"}
        costs.append(buffers(result))
    first, deep = costs
    assert abs(deep - first) < 10, costs
    assert max(costs) < 51 * 5 + 50, costs


@BOTH
@pytest.mark.parametrize("filters", MATCHING.values(), ids=MATCHING)
async def test_unindexed_filters_read_rows_in_index_order(
    connection: Connection, filters: dict[str, str], generic: bool
) -> None:
    costs = []
    for before in (FIRST, await cursor_at(connection, DEPTH)):
        values = {**PAGE, **before, **ANY, **filters}
        result = await run(connection, "page_matching", **values, generic=generic)
        assert result["Actual Rows"] == 51
        assert indexes(result) == {"chats_owner_updated_idx"}
        assert kinds(result) == {"Limit", "Index Scan"}
        costs.append(buffers(result))
    first, deep = costs
    assert abs(deep - first) < 10 + first / 5, costs


@BOTH
async def test_page_without_matches_reads_the_list_once_unsorted(
    connection: Connection, generic: bool
) -> None:
    values = {**PAGE, **FIRST, **ANY, **NOTHING, "title_contains": "'no such words'"}
    result = await run(connection, "page_matching", **values, generic=generic)
    assert result["Actual Rows"] == 0
    assert kinds(result) == {"Limit", "Index Scan"}


@BOTH
async def test_children_are_found_by_their_parent(connection: Connection, generic: bool) -> None:
    costs = []
    for before in (FIRST, await cursor_at(connection, DEPTH)):
        values = {**PAGE, **before, **NOTHING, "archived": "NULL", "statuses": "NULL"}
        values["parent_chat_id"] = f"'{PARENT}'"
        result = await run(connection, "page_of_children", **values, generic=generic)
        assert result["Actual Rows"] == 51
        assert indexes(result) == {"chats_parent_updated_idx"}
        assert kinds(result) == {"Limit", "Index Scan"}
        costs.append(buffers(result))
    assert abs(costs[0] - costs[1]) < 20, costs


@BOTH
async def test_changes_are_found_without_reading_other_chats(
    connection: Connection, generic: bool
) -> None:
    """A read of no, some or all changes of a list reads no more rows than it returns."""
    for since, rows in (("'infinity'", 1), ("now() - interval '1 hour'", 30), ("'-infinity'", 200)):
        values = {
            "owner_ids": f"'{{{OWNER}}}'",
            "since": f"array[{since}]::timestamptz[]",
            "known_versions": "'{}'",
            "limit": "200",
        }
        result = await run(connection, "changed_since", **values, generic=generic)
        assert result["Actual Rows"] == rows
        assert indexes(result) == {"chats_owner_updated_idx", "chats_pkey", "chat_tombstones_pkey"}
        assert scanned(result) == set()
        assert buffers(result) < 20 + 6 * rows, (since, buffers(result))
