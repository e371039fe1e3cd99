"""Chats whose process, or whose response, is lost between the claim with their message and its response.

``CHATD_TEST_LOST_CLAIMS`` makes the tests longer.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx2
import pytest
from support.database_inspector import DatabaseInspector, inspect_database
from support.databases import database_on_server
from support.eventually import eventually
from support.postgres_proxy import PostgresProxy, ProxiedConnection, postgres_proxy
from support.processes import ChatdProcess, chatd_process
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ApiClient, clients

LOST_CLAIMS = int(os.environ.get("CHATD_TEST_LOST_CLAIMS", "20"))
AT_ONCE = 4
"""Claims that are lost with one process."""
NO_LIMIT = "[limits]\nmax_requests = 0"
"""An owner may send any number of messages at once."""
SECRET = "a word that only these messages contain"
MAX_SECONDS = 3.0


def lose_responses(proxy: PostgresProxy) -> list[ProxiedConnection]:
    """Have the responses to the messages thrown away, each after the commit."""
    muted: list[ProxiedConnection] = []

    def drop(connection: ProxiedConnection, data: bytes) -> None:
        if SECRET.encode() in data and not connection.drops_responses:
            connection.drops_responses = True
            muted.append(connection)

    proxy.on_sent = drop
    return muted


async def claimed(db: DatabaseInspector, chats: Sequence[str]) -> bool:
    """Return whether each chat was claimed once."""
    number: int = await db.fetch_value(
        "SELECT count(*) FROM chat_events WHERE transition = 'claim' AND chat_id = ANY($1::uuid[])",
        chats,
    )
    assert number <= len(chats)
    return number == len(chats)


async def send_unheard(api: ApiClient, chat_id: str) -> None:
    """Send a message whose response is lost."""
    with suppress(httpx2.TransportError):
        response = await api.http.post(
            f"/api/v1/chats/{chat_id}/messages", json={"content": SECRET}
        )
        assert response.status_code == 503


async def check_taken_over(
    db: DatabaseInspector, api: ApiClient, chat_id: str, *, lost_at: datetime, busy: float
) -> None:
    """Check that a chat was answered once, and unattended for a short time only."""
    await api.wait_for_status(chat_id, "waiting")
    assert await db.transitions(chat_id) == [
        "create",
        "send",
        "claim",
        "reap",
        "claim",
        "finish_turn",
    ]
    assert await api.texts(chat_id) == [f"You said: {SECRET}"]
    again = (await db.journal(chat_id))[4]["created_at"]
    assert again - lost_at < timedelta(seconds=MAX_SECONDS + busy)


async def make_quiet_chats(api: ApiClient, chatd: ChatdProcess) -> list[str]:
    """Create chats, and wait until the process claims with the message."""
    while True:
        probe = (await api.create())["id"]
        await api.send(probe, "hello")
        await api.wait_for_status(probe, "waiting")
        metrics = (await api.http.get("/metrics")).text
        if "chatd_claims_on_send_total 0\n" not in metrics.replace(".0\n", "\n"):
            return [(await api.create())["id"] for _ in range(AT_ONCE)]


async def test_chats_of_a_process_killed_before_the_response_run_elsewhere(
    tmp_path: Path, tcp_server: str
) -> None:
    async with (
        database_on_server(tcp_server) as dsn,
        postgres_proxy(dsn) as proxy,
        inspect_database(dsn) as db,
    ):
        with chatd_process(tmp_path, dsn, name="survivor") as survivor:
            await survivor.wait_until_ready()
            for number in range(0, LOST_CLAIMS, AT_ONCE):
                proxy.on_sent = lambda _connection, _data: None
                with chatd_process(
                    tmp_path, proxy.dsn, name=f"victim{number}", settings=NO_LIMIT
                ) as victim:
                    await victim.wait_until_ready()
                    async with clients([survivor, victim]) as apis:
                        here, there = apis["survivor"], apis[victim.name]
                        chats = await make_quiet_chats(there, victim)
                        lose_responses(proxy)
                        async with (
                            measure_scheduling_delay(survivor) as busy,
                            asyncio.TaskGroup() as group,
                        ):
                            for chat_id in chats:
                                group.create_task(send_unheard(there, chat_id))
                            await eventually(partial(claimed, db, chats))
                            lost_at = await db.now()
                            victim.send_signal(signal.SIGKILL)
                            for chat_id in chats:
                                await here.wait_for_status(chat_id, "waiting")
                        for chat_id in chats:
                            await check_taken_over(
                                db, here, chat_id, lost_at=lost_at, busy=busy.total
                            )


@pytest.mark.parametrize("hears", [True, False], ids=["cut", "silent"])
async def test_chats_whose_response_is_lost_are_given_back(
    tmp_path: Path, tcp_server: str, hears: bool
) -> None:
    """The connections break after the commit: at once, or when the statements run out of time."""
    settings = f"{NO_LIMIT}\n[database]\nstatement_timeout_seconds = 1"
    async with (
        database_on_server(tcp_server) as dsn,
        postgres_proxy(dsn) as proxy,
        inspect_database(dsn) as db,
    ):
        with chatd_process(tmp_path, proxy.dsn, settings=settings) as chatd:
            await chatd.wait_until_ready()
            async with clients([chatd]) as apis:
                api = apis[chatd.name]
                for _ in range(0, LOST_CLAIMS, 2 * AT_ONCE):
                    proxy.on_sent = lambda _connection, _data: None
                    chats = await make_quiet_chats(api, chatd)
                    muted = lose_responses(proxy)
                    async with (
                        measure_scheduling_delay(chatd) as busy,
                        asyncio.TaskGroup() as group,
                    ):
                        for chat_id in chats:
                            group.create_task(send_unheard(api, chat_id))
                        await eventually(partial(claimed, db, chats))
                        proxy.on_sent = lambda _connection, _data: None
                        lost_at = await db.now()
                        if hears:
                            for connection in muted:
                                connection.cut()
                        else:
                            lost_at += timedelta(seconds=2)  # the client's own time limit
                        for chat_id in chats:
                            await api.wait_for_status(chat_id, "waiting")
                    for chat_id in chats:
                        await check_taken_over(db, api, chat_id, lost_at=lost_at, busy=busy.total)
