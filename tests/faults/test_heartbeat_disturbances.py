"""What disturbs a heartbeat costs no chat its lease: locked rows, deadlocks, and sessions of a pooler."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import asyncpg
import pytest
from support.concurrency import row_locked
from support.eventually import eventually
from support.heartbeats import heartbeat_on
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.postgres_proxy import PostgresProxy
from support.providers import HeldProvider
from support.virtual_clock import on_virtual_time

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.database import Database
from chatd.store.reads import ChatReader
from chatd.supervision.child import ChildHandle

BEAT = {"heartbeat_seconds": 0.1}
CHATS = 4
DEADLOCKS = """
CREATE SEQUENCE deadlocks;
CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('deadlocks') <= 2 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deadlock BEFORE UPDATE ON workers FOR EACH ROW EXECUTE FUNCTION deadlock();
"""
"""Trigger that makes a renewal the victim of a deadlock, twice."""


async def held_chats(chatd: InProcessDaemon, provider: HeldProvider) -> list[str]:
    """Create chats whose answers wait for the test."""
    chats = [(await chatd.api.create("hello"))["id"] for _ in range(CHATS)]
    await eventually(lambda: provider.running_count == CHATS)
    return chats


async def wait_for_renewals(database: Database, chatd: InProcessDaemon) -> None:
    """Wait until the worker has renewed its lease, and that of each chat, several times."""
    renewals, leases = set(), set()

    async def renewed() -> bool:
        [row] = await fetch_rows(database, "SELECT heartbeat_at FROM workers")
        renewals.add(row["heartbeat_at"])
        leases.add(min(lease.renewed_at for lease in chatd.daemon.chat_tasks.leases))
        return min(len(renewals), len(leases)) > 3

    await eventually(renewed)


async def check_turns(chatd: InProcessDaemon, chats: list[str]) -> None:
    """Check that each chat was claimed once and answered."""
    for chat_id in chats:
        await chatd.api.wait_for_status(chat_id, "waiting")
        entries = await chatd.journal(chat_id)
        assert [entry["transition"] for entry in entries] == ["create", "claim", "finish_turn"]


async def test_locked_row_of_a_chat_ends_no_lease(dsn: str, database: Database) -> None:
    """Another session holds the row of one chat, and the lease of all is renewed all the same."""
    provider = HeldProvider()
    async with running_daemon(dsn, provider, worker=BEAT) as chatd:
        locked_id, *others = await held_chats(chatd, provider)
        [row] = await fetch_rows(database, "SELECT id FROM chats WHERE id::text = $1", locked_id)
        locked = await ChatReader(database).chat(row["id"], owner_id=None)
        async with row_locked(database, locked):
            await wait_for_renewals(database, chatd)
            assert provider.running_count == CHATS
            provider.go.set()
            await check_turns(chatd, others)
        await check_turns(chatd, [locked_id])


async def test_renewal_that_is_the_victim_of_a_deadlock_ends_no_lease(
    dsn: str, database: Database
) -> None:
    provider = HeldProvider()
    async with running_daemon(dsn, provider, worker=BEAT) as chatd:
        chats = await held_chats(chatd, provider)
        async with database.dedicated_connection() as connection:
            await connection.execute(DEADLOCKS)
        await wait_for_renewals(database, chatd)
        [row] = await fetch_rows(database, "SELECT last_value FROM deadlocks")
        assert row["last_value"] > 2
        provider.go.set()
        await check_turns(chatd, chats)


def other_pid() -> Callable[[bytes], bytes]:
    """Return a filter that gives a session a process id that is not the server's, as a pooler does."""
    return lambda data: re.sub(
        rb"(K\x00\x00\x00\x0c)....", b"\\g<1>\x00\x00\x00\x01", data, count=1, flags=re.DOTALL
    )


@pytest.mark.parametrize("pooled", [False, True])
async def test_lock_is_taken_in_a_session_of_its_own_only(
    proxy: PostgresProxy, inspector: asyncpg.Connection, pooled: bool
) -> None:
    """A pooler may run each statement in another session, and the lock of one is the lock of all."""
    proxy.response_filter = other_pid if pooled else None
    async with running_daemon(proxy.dsn) as chatd:
        [row] = await inspector.fetch("SELECT worker_id, lock_proved FROM workers")
        assert (row["worker_id"], row["lock_proved"]) == (chatd.daemon.worker_id, not pooled)
        locks = await inspector.fetch(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert len(locks) == (0 if pooled else 1)
        assert bool(chatd.logged("heartbeat.lock_unproved")) == pooled


@on_virtual_time
async def test_lost_connection_is_replaced_at_once_and_then_tried_every_half_second() -> None:
    """Others look a second apart, so a living worker is back between two looks."""
    tries: list[float] = []

    class UnavailableDatabase:
        def dedicated_connection(self, **_: object) -> Any:
            tries.append(anyio.current_time())
            raise DatabaseUnavailable

    heartbeat = heartbeat_on(UnavailableDatabase())
    child = ChildHandle("heartbeat")
    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat.run, child)
        await anyio.sleep(20)
        child.stopping.set()
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[0] == 0
    assert max(gaps) <= 0.5
