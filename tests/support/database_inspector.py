"""Reads of the database past the API: the journal, and which worker holds a chat."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from chatd.store.connector import Connection
from support.eventually import eventually
from support.processes import ChatdProcess


class DatabaseInspector:
    """Reads of the database past the API: the journal, and the worker of a chat."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_all(self, query: str, *args: Any) -> list[asyncpg.Record]:
        return list(await self._connection.fetch(query, *args))

    async def fetch_value(self, query: str, *args: Any) -> Any:
        return await self._connection.fetchval(query, *args)

    async def now(self) -> datetime:
        moment: datetime = await self.fetch_value("SELECT clock_timestamp()")
        return moment

    async def journal(self, chat_id: str) -> list[asyncpg.Record]:
        """Return the journal of a chat, in order."""
        return await self.fetch_all(
            "SELECT version, created_at, transition, status, epoch, worker_id,"
            " data::jsonb->>'reason' AS reason, data FROM chat_events WHERE chat_id = $1 ORDER BY version",
            UUID(chat_id),
        )

    async def transitions(self, chat_id: str) -> list[str]:
        return [row["transition"] for row in await self.journal(chat_id)]

    async def wait_for_transition(
        self, chat_id: str, transition: str, *, times: int = 1
    ) -> asyncpg.Record:
        """Wait until a transition was made so often. Return its journal row."""

        async def recorded() -> asyncpg.Record | None:
            rows = [row for row in await self.journal(chat_id) if row["transition"] == transition]
            return rows[times - 1] if len(rows) >= times else None

        row: asyncpg.Record = await eventually(
            recorded, describe=lambda: f"{transition} of {chat_id}", interval_seconds=0.03
        )
        return row

    async def wait_for_worker(
        self, chat_id: str, *processes: ChatdProcess
    ) -> tuple[ChatdProcess, list[ChatdProcess]]:
        """Wait until a worker has claimed the chat. Return its process, and the others."""

        async def claims() -> list[UUID]:
            rows = await self.journal(chat_id)
            return [row["worker_id"] for row in rows if row["transition"] == "claim"]

        *_, worker_id = await eventually(claims, describe=lambda: f"an owner of {chat_id}")
        (owner,) = (process for process in processes if process.worker_id == worker_id)
        return owner, [process for process in processes if process is not owner]


@asynccontextmanager
async def inspect_database(dsn: str) -> AsyncIterator[DatabaseInspector]:
    connection = await asyncpg.connect(dsn)
    try:
        yield DatabaseInspector(connection)
    finally:
        await connection.close()
