"""Plans of every statement that an actor runs by itself, beside 100,000 idle chats.

Processes run them all the time, whatever the number of chats is, so none may read a large table as a whole.
A new statement is found by itself. One with a new parameter needs a value in ``explained_values``.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from support.background_statements import (
    FILL,
    Statement,
    background_statements,
    explained_values,
)
from support.factories import MODEL, WORKER
from support.filled_tables import fill_tables
from support.query_plans import BOTH, plan, scanned

from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.database import Database

LARGE = {"api_tokens", "chat_events", "chat_parts", "chat_tombstones", "chats", "idempotency_keys"}
STATEMENTS = sorted(background_statements() - {("stats", "collect")})
"""All but one that decides when it runs: test_stats_read_no_table."""


KEYS = """
INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id)
SELECT owner_id, id::text, 'x', id FROM chats
"""
LOCKS = {
    ("leases", "terminate_stale_session"),
    ("leases", "try_worker_lock"),
    ("leases", "worker_lock_holder"),
}
"""Statements that take the id of a worker as text."""


@pytest.fixture(scope="module")
def filled_dsn(module_dsn: str) -> str:
    chats = FILL.format(model=MODEL, worker=WORKER, chats=100_000, entries=2)
    asyncio.run(fill_tables(module_dsn, chats, KEYS, "VACUUM ANALYZE"))
    return module_dsn


@pytest.fixture
async def filled(filled_dsn: str) -> AsyncIterator[Connection]:
    async with Database(filled_dsn).dedicated_connection() as connection:
        yield connection


def test_statements_of_every_actor_are_found() -> None:
    expected: set[Statement] = {
        ("chat_lists", "changed_since"),
        ("claims", "claim"),
        ("reaps", "look"),
        ("reaps", "orphaned_interrupts"),
        ("notifications", "notify"),
        ("reads", "ping"),
        ("stream_reads", "flush_parts"),
        ("stream_reads", "updates_since"),
        ("sweeps", "chat_events"),
        ("sweeps", "idempotency_keys"),
        ("tokens", "validate"),
        ("actions", "expire_action"),
        ("families", "wake"),
    }
    assert expected <= {*STATEMENTS}


@BOTH
async def test_no_background_statement_reads_a_whole_table(
    filled: Connection, generic: bool
) -> None:
    values = await explained_values(filled)
    whole: dict[Statement, set[str]] = {}
    for file, name in STATEMENTS:
        of_this: Mapping[str, Any] = {
            parameter: values[parameter] for parameter in sql.load(file)[name].parameters
        }
        if (file, name) in LOCKS:
            of_this = {"worker_id": str(WORKER)}
        result = await plan(filled, file, name, **of_this, generic=generic)
        if tables := scanned(result) & LARGE:
            whole[file, name] = tables
    assert whole == {}


async def test_operators_look_at_the_fleet_through_indexes(filled: Connection) -> None:
    """Its function has statements that no plan of the caller shows, so the scans are counted."""

    async def scans() -> int:
        await filled.fetchval("SELECT pg_stat_force_next_flush()")
        count = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'chats'"
        return int(await filled.fetchval(count))

    before = await scans()
    values = {
        "statuses": {"sample": 2000, "age_bounds": [10.0, 60.0]},
        "owners": {"sample": 2000, "limit": 20},
        "stages": {"sample": 2000, "limit": 20},
        "chats": {"sample": 2000, "limit": 50, "owner_id": None, "statuses": ["running", "error"]},
        "workers": {"limit": 200},
    }
    for name, parameters in values.items():
        text, arguments = sql.load("fleet")[name].bind(**parameters)
        await filled.fetch(text, *arguments)
        assert await scans() == before, name
