"""PostgreSQL restarts under fifty running chats: processes wait, and every turn is finished."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import asyncpg
import pytest
from support.database_inspector import inspect_database
from support.databases import database_on_server
from support.eventually import eventually
from support.processes import ChatdProcess, replicas
from support.sse_client import ApiClient, ChatView, clients, text_of

from chatd.embedded import Postgres, StopMode

SCRIPTS = """
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "One two three four five six seven eight nine ten for {message}"
chunks = 40
delay_seconds = 0.05
[[providers.fake.scripts.longer]]
text = "One two three four five six seven eight nine ten for {message}"
chunks = 40
delay_seconds = 0.075
[[providers.fake.scripts.longest]]
text = "One two three four five six seven eight nine ten for {message}"
chunks = 40
delay_seconds = 0.1
[models.fake]
provider = "fake"
model = "fake-1"
"""
CHATS = 50


def answer(number: int) -> str:
    return f"One two three four five six seven eight nine ten for number {number}"


def question(number: int) -> str:
    """Return messages for turns of several lengths: some end during the outage, some after it."""
    return f"{('', '[[longer]] ', '[[longest]] ')[number % 3]}number {number}"


@pytest.fixture(scope="module")
def durable_server() -> Iterator[Postgres]:
    """Start a durable server for this test alone."""
    with Postgres() as own:
        yield own


def answer_started(view: ChatView) -> bool:
    """Return whether parts came, or the chat was followed so late that the snapshot had some or all."""
    parts = any(event.event == "message_part" for event in view.events)
    return parts or bool(view.preview) or is_idle(view)


def is_idle(view: ChatView) -> bool:
    return view.status in {"waiting", "error"}


def outages(process: ChatdProcess) -> str:
    """Return the log lines of the process about outages."""
    return "".join(line for line in process.raw_lines if '"outage.' in line)


async def watch(api: ApiClient, chat_id: str, view: ChatView) -> None:
    """Follow to the end of the turn, and resume whenever the stream ends."""
    while not is_idle(view):
        await api.follow(chat_id, view, is_idle)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_database_restart_loses_nothing(
    tmp_path: Path, durable_server: Postgres, mode: StopMode
) -> None:
    # What a busy machine makes of the outage's length must not cost a lease.
    settings = f"[worker]\nmax_chats = {CHATS // 2}\nlease_seconds = 60\n"
    async with (
        database_on_server(durable_server.dsn) as dsn,
        replicas(tmp_path, dsn, "a", "b", settings=settings, scripts=SCRIPTS) as both,
        clients(both) as apis,
    ):
        pids = [process.process.pid for process in both]
        views: dict[int, ChatView] = {}
        chat_ids: dict[int, str] = {}

        async def ask(number: int) -> None:
            api = apis["a" if number % 2 else "b"]
            chat_ids[number] = (await api.create(question(number)))["id"]
            views[number] = ChatView()
            await watch(api, chat_ids[number], views[number])

        async with anyio.create_task_group() as group:
            for number in range(CHATS):
                group.start_soon(ask, number)
            await eventually(
                lambda: len(views) == CHATS and all(map(answer_started, views.values())),
                describe=lambda: str(
                    [view.status for view in views.values() if not answer_started(view)]
                ),
            )
            await durable_server.stop(mode)
            await eventually(lambda: any(view.preview == answer(n) for n, view in views.items()))
            await durable_server.start()

        async with inspect_database(dsn) as db:
            rows = await db.fetch_all(
                "SELECT transition, count(*) AS n FROM chat_events GROUP BY transition"
            )
            # Who owned a chat owns it to the end: nothing was reaped, released or begun again.
            assert {row["transition"]: row["n"] for row in rows} == dict.fromkeys(
                ("create", "claim", "finish_turn"), CHATS
            )
            assert await db.fetch_value("SELECT count(*) FROM chats WHERE status <> 'waiting'") == 0
            claims = "SELECT count(DISTINCT worker_id) FROM chat_events WHERE transition = 'claim'"
            assert await db.fetch_value(claims) == 2
        for number, view in views.items():
            truth = {
                m["id"]: text_of(m["content"]) for m in await apis["a"].messages(chat_ids[number])
            }
            assert view.messages == truth
            assert list(truth.values()) == [question(number), answer(number)]
        for process, pid in zip(both, pids, strict=True):
            assert process.process.poll() is None
            assert process.process.pid == pid
            assert not process.logged("supervisor.child_restarted")
            assert not process.logged("supervisor.child_failed")
            assert not process.logged("chat.lost")
            began = Counter(line["child"] for line in process.logged("outage.began"))
            ended = Counter(line["child"] for line in process.logged("outage.ended"))
            assert "heartbeat" in began
            assert "listener" in began
            assert set(began.values()) == {1}, outages(process)
            assert ended == began
            process.send_signal(signal.SIGTERM)
            assert await process.wait_for_exit() == 0


async def test_session_crash_takes_no_lease_of_live_worker(
    tmp_path: Path, durable_server: Postgres
) -> None:
    """A crashed session ends all others and frees every lock, although the server keeps running."""
    async with (
        database_on_server(durable_server.dsn) as dsn,
        replicas(tmp_path, dsn, "a", "b", scripts=SCRIPTS) as (a, b),
        clients((a, b)) as apis,
    ):
        async with inspect_database(dsn) as db:
            chat_id = (await apis["a"].create(question(2)))["id"]
            owner, (other,) = await db.wait_for_worker(chat_id, a, b)
        victim = await asyncpg.connect(dsn)
        os.kill(victim.get_server_pid(), signal.SIGKILL)
        await other.wait_for_log("outage.ended", child="heartbeat")
        async with inspect_database(dsn) as db:
            looks: set[datetime] = set()

            async def looked() -> bool:
                rows = await db.fetch_all(
                    "SELECT query_start FROM pg_stat_activity"
                    " WHERE query LIKE '-- reaps.look%' AND datname = current_database()"
                )
                looks.update(row["query_start"] for row in rows)
                return max(looks) - min(looks) > timedelta(seconds=2) if looks else False

            await eventually(looked)
            await apis[other.name].wait_for_status(chat_id, "waiting")
            assert await db.transitions(chat_id) == ["create", "claim", "finish_turn"]
        assert await apis[other.name].texts(chat_id) == [answer(2)]
        assert not owner.logged("chat.lost")
