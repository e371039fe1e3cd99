"""Liveness, readiness, and responses while the database is unavailable."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.openapi_conformance import operations
from support.requests import PROBLEM_JSON, assert_problem, chat_operations, request_operation

from chatd.embedded import Postgres

NO_DATABASE = {"/livez", "/api/v1/models", "/metrics", "/statusz", "/api/v1/fleet/history"}
"""Paths that need no database."""

BOUND_SECONDS = 10.0
"""Much longer than a response takes, much shorter than any timeout in the settings."""


@pytest.fixture
async def stoppable_server() -> AsyncIterator[Postgres]:
    """Start a server that the test may stop."""
    async with Postgres() as server:
        yield server


async def ready(chatd: InProcessDaemon) -> httpx2.Response:
    return await chatd.api.http.get("/readyz")


async def test_livez_and_readyz_of_a_running_daemon(chatd: InProcessDaemon) -> None:
    alive = await chatd.api.http.get("/livez")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    answer = await ready(chatd)
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_answer_head(chatd: InProcessDaemon, path: str) -> None:
    answer = await chatd.api.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    other = await chatd.api.http.post(path)
    assert (other.status_code, other.headers["allow"]) == (405, "GET, HEAD")


async def test_readyz_never_waits_for_the_pool(dsn: str) -> None:
    """It answers at once while every connection is taken, and fails when no ping is answered."""
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        used = chatd.daemon.services.database
        probe = chatd.daemon.actors.database_probe
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(used.fetch("SELECT pg_sleep(60)")) for _ in range(used.pool_size)
            ]
            await eventually(lambda: used.connections_in_use == used.pool_size)
            began = time.monotonic()
            statements = used.statement_count
            for _ in range(20):
                assert (await ready(chatd)).status_code == 200
            assert time.monotonic() - began < probe._max_age_seconds
            assert used.statement_count - statements < 10, "a probe costs no statement"
            probe._max_age_seconds = 0.0
            assert_problem(await ready(chatd), 503, "database_unavailable")
            for task in running:
                task.cancel()


async def test_readyz_fails_while_stopping(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chatd.daemon.services.hub.drain()
        assert_problem(await ready(chatd), 503, "not_ready", "stopping")
        assert (await chatd.api.http.get("/livez")).status_code == 200


async def test_readyz_fails_while_starting(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_daemon(dsn) as chatd:
        assert (await ready(chatd)).status_code == 200
        monkeypatch.setattr(chatd.daemon.supervisor, "ready", asyncio.Event())
        assert_problem(await ready(chatd), 503, "not_ready", "starting")
        monkeypatch.undo()
        assert (await ready(chatd)).status_code == 200


async def test_readyz_follows_a_database_outage(stoppable_server: Postgres) -> None:
    requests = [(m, p) for m, p, _ in operations() if p not in NO_DATABASE]
    assert len(requests) > len(chat_operations())
    async with database_on_server(stoppable_server.dsn) as dsn, running_daemon(dsn) as chatd:
        chat_id = (await chatd.api.create("before"))["id"]
        await chatd.api.wait_for_status(chat_id, "waiting")
        before = await chatd.api.messages(chat_id)
        await stoppable_server.stop("immediate")
        requests.remove(("get", "/readyz"))
        await eventually(lambda: is_unavailable(chatd))
        for method, path in requests * 2:  # first with dead connections, then without any
            began = time.monotonic()
            answer = await request_operation(chatd, method, path, chat_id)
            assert time.monotonic() - began < BOUND_SECONDS, path
            assert answer.headers["content-type"] == PROBLEM_JSON
            assert_problem(answer, 503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            for secret in (str(stoppable_server.socket_dir), "asyncpg", "Error"):
                assert secret not in answer.text
        for path in NO_DATABASE:
            assert (await chatd.api.http.get(path)).status_code == 200
        for method, path in chat_operations():  # invalid requests are still named
            assert_problem(
                await request_operation(chatd, method, path, "no-uuid"), 422, "invalid_request"
            )
        await stoppable_server.start()
        await eventually(lambda: is_ready(chatd))
        assert await chatd.api.messages(chat_id) == before
        await chatd.api.send(chat_id, "after")
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.texts(chat_id) == ["You said: before", "You said: after"]
        assert not chatd.logged("http.unexpected")


async def test_readyz_fails_while_the_server_accepts_no_writes(stoppable_server: Postgres) -> None:
    """It is a standby, which answers every ping, until a failover promotes it."""
    async with database_on_server(stoppable_server.dsn) as dsn, running_daemon(dsn) as chatd:
        probe = chatd.daemon.actors.database_probe
        await stoppable_server.stop()
        become_standby(stoppable_server)
        await stoppable_server.start()
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT pg_is_in_recovery()")
        await probe.step()
        assert_problem(await ready(chatd), 503, "database_unavailable")
        await connection.execute("SELECT pg_promote()")
        await connection.close()
        await eventually(lambda: is_ready(chatd))


def become_standby(server: Postgres) -> None:
    """Have the server start as a standby, of a primary that it never finds."""
    (control,) = server.folder.rglob("global/pg_control")
    marker = control.parents[1] / "standby.signal"
    marker.touch()
    owner = control.stat()
    os.chown(marker, owner.st_uid, owner.st_gid)


async def is_unavailable(chatd: InProcessDaemon) -> bool:
    answer = await ready(chatd)
    if answer.status_code == 200:
        return False
    assert_problem(answer, 503, "database_unavailable")
    return True


async def is_ready(chatd: InProcessDaemon) -> bool:
    return (await ready(chatd)).status_code == 200
