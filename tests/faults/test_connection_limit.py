"""A PostgreSQL server without free connections: chatd answers 503, and recovers by itself."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemons
from support.outages import message_is_accepted, wait_until_not_ready
from support.providers import scripted

from chatd.embedded import Postgres

SHORT_TIMEOUTS = {"connect_timeout_seconds": 1.0, "statement_timeout_seconds": 1.0}


@pytest.fixture
def small_server() -> Iterator[Postgres]:
    with Postgres(settings={"max_connections": "40"}) as server:
        yield server


@pytest.fixture
async def small_server_dsn(small_server: Postgres) -> AsyncIterator[str]:
    """Yield a database on a server with few connections."""
    async with database_on_server(small_server.dsn) as dsn:
        yield dsn


class ConnectionHolder:
    """Another client of the server, which takes all of ``max_connections``."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connections: list[asyncpg.Connection] = []

    async def fill(self) -> None:
        while True:
            try:
                self._connections.append(await asyncpg.connect(self._dsn))
            except asyncpg.TooManyConnectionsError:
                return

    async def replace_chatd(self) -> bool:
        """End the sessions of chatd and take their places. Return whether it has none left."""
        sessions = "FROM pg_stat_activity WHERE application_name = 'chatd'"
        await self._connections[0].execute(f"SELECT pg_terminate_backend(pid) {sessions}")
        await self.fill()
        return not await self._connections[0].fetchval(f"SELECT count(*) {sessions}")

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()


async def test_server_without_free_connections_is_waited_out(small_server_dsn: str) -> None:
    """All requests get 503 while another client holds all connections, and work afterwards."""
    holder = ConnectionHolder(small_server_dsn)
    async with running_daemons(
        small_server_dsn, [scripted()] * 2, database=SHORT_TIMEOUTS
    ) as daemons:
        chats = [await chatd.api.create("hello") for chatd in daemons]
        for chatd, chat in zip(daemons, chats, strict=True):
            await chatd.api.wait_for_status(chat["id"], "waiting")
        await holder.fill()
        await eventually(holder.replace_chatd)
        for chatd, chat in zip(daemons, chats, strict=True):
            await all_refused(chatd, chat["id"])
        await holder.close()
        for chatd, chat in zip(daemons, chats, strict=True):
            await eventually(lambda chatd=chatd, chat=chat: message_is_accepted(chatd, chat["id"]))
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert await chatd.api.texts(chat["id"]) == ["You said: hello", "You said: again"]
            assert not chatd.logged("supervisor.child_restarted")
            await chatd.wait_for_log("outage.ended", child="heartbeat")


async def all_refused(chatd: InProcessDaemon, chat_id: str) -> None:
    for method, path in (
        ("GET", f"/api/v1/chats/{chat_id}"),
        ("POST", "/api/v1/chats"),
        ("GET", f"/api/v1/chats/{chat_id}/stream"),
    ):
        response = await chatd.api.http.request(method, path, json={})
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    await wait_until_not_ready(chatd)
