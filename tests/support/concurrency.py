"""Concurrency: row locks that a test holds, statements that wait for them, and many rows at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from chatd.domain.chat import Chat, Status
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken
from support.eventually import TIMEOUT_SECONDS
from support.factories import MODEL, OWNER, columns_for, insert_worker

WAIT_SECONDS = TIMEOUT_SECONDS
"""Time-out for a fact that must come true."""


def fencing_token(result: TransitionResult) -> FencingToken:
    """Return the fencing token of a leased chat."""
    assert result.chat.worker_id is not None
    return FencingToken(result.chat.id, result.chat.worker_id, result.chat.epoch)


async def gather_all(*awaitables: Awaitable[Any]) -> list[Any]:
    """Return the results of concurrent tasks. The first failure cancels the others."""
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in awaitables]  # type: ignore[arg-type]
    return [task.result() for task in tasks]


@asynccontextmanager
async def row_locked(database: Database, chat: Chat) -> AsyncIterator[Any]:
    """Hold the lock of a chat's row in another transaction, which commits at the end."""
    async with database.dedicated_connection() as connection, connection.transaction():
        await connection.fetch("SELECT FROM chats WHERE id = $1 FOR NO KEY UPDATE", chat.id)
        yield connection


@asynccontextmanager
async def chats_locked(database: Database) -> AsyncIterator[None]:
    """Have every statement that reads or writes chats wait until the end."""
    async with database.dedicated_connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE chats IN ACCESS EXCLUSIVE MODE")
        yield


async def wait_until_blocked(connection: Any, count: int = 1) -> None:
    """Wait until ``count`` statements wait for a lock of this database."""
    async with asyncio.timeout(WAIT_SECONDS):
        while count > await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.002)
            await connection.execute("SELECT pg_stat_clear_snapshot()")


async def insert_chats(database: Database, count: int, status: Status, **more: Any) -> list[UUID]:
    """Insert chats of one status, without transitions. Return their ids."""
    columns = columns_for(status) | more
    if columns.get("worker_id"):
        await insert_worker(database, columns["worker_id"])
    times = {name for name, value in columns.items() if value == "now"}
    values = {name: value for name, value in columns.items() if name not in times}
    names = ["id", "root_chat_id", "owner_id", "last_model_config_id", *values, *times]
    places = ["$1", "$1", "$2", "$3", *(f"${n}" for n in range(4, 4 + len(values)))]
    places += ["clock_timestamp()"] * len(times)
    query = f"INSERT INTO chats ({', '.join(names)}) VALUES ({', '.join(places)})"
    ids = [uuid4() for _ in range(count)]
    for chat_id in ids:
        await database.fetch(query, chat_id, OWNER, MODEL, *values.values())
    return ids
