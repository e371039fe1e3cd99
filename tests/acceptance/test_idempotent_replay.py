"""A process dies between the commit and the response: a repeated request gets the response, once."""

import asyncio
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from support.database_inspector import DatabaseInspector, inspect_database
from support.databases import database_on_server
from support.eventually import eventually
from support.processes import chatd_process
from support.requests import ids_of
from support.sse_client import client
from support.tcp_proxy import tcp_proxy

SHORT_LEASES = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 3
reap_interval_seconds = 0.2
"""
"""PostgreSQL keeps the session of a black-holed connection, and with it the lock of a killed worker."""


async def statement_waits(inspector: DatabaseInspector) -> bool:
    """Return whether a statement waits for a lock."""
    return bool(
        await inspector.fetch_value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("what", ["create", "send", "edit"])
async def test_replay_after_kill_between_commit_and_response(
    tmp_path: Path, tcp_server: str, what: str
) -> None:
    """Drop the connection once the database has the statement: it commits, and the response is lost."""
    async with (
        database_on_server(tcp_server) as dsn,
        tcp_proxy(dsn) as (wire, near),
        inspect_database(dsn) as inspector,
    ):
        with chatd_process(tmp_path, near, name="first", settings=SHORT_LEASES) as first:
            await first.wait_until_ready()
            async with client(first) as api:
                chat = await api.create("hello")
                await api.wait_for_status(chat["id"], "waiting")
                said = (await api.messages(chat["id"]))[0]["id"]
            method, path, body = {
                "create": ("POST", "/api/v1/chats", {"content": "more"}),
                "send": ("POST", f"/api/v1/chats/{chat['id']}/messages", {"content": "more"}),
                "edit": (
                    "PATCH",
                    f"/api/v1/chats/{chat['id']}/messages/{said}",
                    {"content": "more"},
                ),
            }[what]
            key = {"idempotency-key": str(uuid4())}

            async def ask(process: Any) -> Any:
                async with client(process) as api:
                    return await api.http.request(method, path, json=body, headers=key)

            async with inspect_database(dsn) as hand:
                await hand.fetch_value("BEGIN")
                await hand.fetch_value(
                    "INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id)"
                    " VALUES ('local', $1, '', gen_random_uuid())",
                    key["idempotency-key"],
                )  # nobody knows yet whether it will be there, so the same key has to wait
                asked = asyncio.create_task(ask(first))
                await eventually(lambda: statement_waits(inspector))
                wire.blackhole()
                await hand.fetch_value("ROLLBACK")
            kept = "SELECT count(*) FROM idempotency_keys"
            assert await eventually(lambda: inspector.fetch_value(kept)) == 1, "it was done"
            first.send_signal(signal.SIGKILL)
            await first.wait_for_exit()
            with pytest.raises(httpx2.TransportError):
                await asked

        with chatd_process(tmp_path, dsn, name="second", settings=SHORT_LEASES) as second:
            await second.wait_until_ready()
            answers = [await ask(second) for _ in range(2)]
            assert ids_of(answers[0]) == ids_of(answers[1])
            assert answers[0].status_code == {"create": 201, "send": 202, "edit": 200}[what]
            async with client(second) as api:
                made = answers[0].json()
                chat_id = made["id"] if what == "create" else chat["id"]
                await api.wait_for_status(chat_id, "waiting")
                texts = await api.texts(chat_id, "user")
                assert (
                    texts == {"create": ["more"], "send": ["hello", "more"], "edit": ["more"]}[what]
                )
            chats = await inspector.fetch_value("SELECT count(*) FROM chats")
            assert chats == (2 if what == "create" else 1)
