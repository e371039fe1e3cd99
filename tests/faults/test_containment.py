"""No data of one chat end an actor that serves all: each meets rows that fail, and its neighbours do not.

Every row of the supervision tree has an entry here. Those that work on batches of chats are given data of
each kind, while a neighbour is answered, streamed and listed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon
from support.metrics import scrape
from support.providers import scripted
from support.sse_client import ChatView

from chatd.daemon import Daemon
from chatd.settings import Settings

QUICK = {"reap_interval_seconds": 0.05, "poll_seconds": 0.05, "heartbeat_seconds": 0.5}
SCRIPT = [{"text": "You said: {message}", "chunks": 4}]

NO_BATCHES: Mapping[str, str] = {
    "http": "a request is of one chat, and a failure is its answer",
    "database": "reads no chat",
    "listener": "reads hints: test_foreign_notifications",
    "watchdog": "reads no row",
    "chats": "one task per chat: worker/test_panics.py",
    "janitor": "looks at times only, and never ends the process: unit/test_restarts.py",
    "authenticator": "reads no chat",
    "database probe": "reads no chat",
    "stats collector": "counts only, and never ends the process: unit/test_restarts.py",
    "metrics history": "reads no row",
    "provider preload": "reads no row",
    "admission": "reads no row",
    "titler": "one chat at a time, and a failure ends nothing: worker/test_titler.py",
    "search indexer": "worker/test_search_indexer.py",
}
"""Actors that no row of a single chat passes through, or whose test is elsewhere."""
FED = {
    "chat poller", "list poller", "claimer", "reaper", "flusher", "notifier", "deregistration",
    "pending sweep", "activity", "heartbeat", "waker",
}  # fmt: skip
"""Actors that the tests of this module and of ``test_poisoned_rows`` feed."""


async def test_every_actor_has_a_case() -> None:
    models = {
        "providers": {"p": {"kind": "scripted"}},
        "models": {"m": {"provider": "p", "model": "scripted"}},
        "auth": {"mode": "token"},
    }
    daemon = Daemon(Settings.model_validate(models), handle_signals=False)
    names = {actor.name for actor in daemon.supervisor.snapshot()}
    assert names == NO_BATCHES.keys() | FED, "say where a new actor meets data that fail"


# -- data that fail ---------------------------------------------------------------------------------

RAISING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON chats FOR EACH ROW WHEN (OLD.id = '{chat_id}')
EXECUTE FUNCTION refuse();
"""
ROWS: Mapping[str, str] = {
    "JSON of another shape": "UPDATE chats SET labels = '[1, 2]' WHERE id = $1",
    "JSON nested too deeply": "UPDATE chats SET labels = jsonb_build_object('a', (repeat('[', 900)"
    " || repeat(']', 900))::jsonb) WHERE id = $1",
    "a number too long": "UPDATE chats SET labels = jsonb_build_object('a',"
    " ('1' || repeat('0', 5000))::jsonb) WHERE id = $1",
    "labels that are no text": 'UPDATE chats SET labels = \'{"a": {"b": 1}}\' WHERE id = $1',
    "a time beyond that of Python": "UPDATE chats SET created_at = '20000-01-01' WHERE id = $1",
    "a time without end": "UPDATE chats SET created_at = 'infinity' WHERE id = $1",
    "the highest version": "UPDATE chats SET version = 9223372036854775807 WHERE id = $1",
}
"""What may be wrong with the row of a chat."""
ENTRIES: Mapping[str, tuple[str, str]] = {
    "an entry that is no object": ("send", "[1]"),
    "an entry without its fields": ("record_retry", "{}"),
    "messages that are no array": ("send", '{"messages": 5}'),
    "a queue that is no number": ("send", '{"queued": {"a": 1}}'),
}
"""What may be wrong with an entry of the journal: its transition and its data."""
ADD_ENTRY = """
WITH changed AS (
    UPDATE chats SET version = version + 1, updated_at = clock_timestamp() WHERE id = $1 RETURNING *
)
INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
SELECT id, version, $2, status, epoch, $3::jsonb FROM changed
"""
LOOSE_SCHEMA = """
ALTER TABLE chats DROP CONSTRAINT chats_labels_object;
ALTER TABLE chat_events DROP CONSTRAINT chat_events_data_check;
ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_content_check;
"""


@pytest.fixture
async def loose(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection to a database whose rows may be of another shape, as a newer one's may be."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(LOOSE_SCHEMA)
    yield connection
    await connection.close()


@asynccontextmanager
async def unharmed(dsn: str, **worker: Any) -> AsyncIterator[InProcessDaemon]:
    """Run a daemon, and check that none of its actors fails."""
    async with running_daemon(dsn, scripted(SCRIPT), worker=QUICK | worker) as chatd:
        yield chatd
        assert not chatd.logged("supervisor.child_failed")
        assert {child.restarts for child in chatd.daemon.supervisor.snapshot()} == {0}


async def check_neighbour(chatd: InProcessDaemon) -> None:
    """Check that another chat is answered and streamed."""
    neighbour, view = (await chatd.api.create())["id"], ChatView()
    following = asyncio.create_task(
        chatd.api.follow(neighbour, view, lambda view: len(view.messages) == 2)
    )
    await eventually(lambda: view.status)
    await chatd.api.send(neighbour, "hello")
    await following
    assert list(view.messages.values()) == ["hello", "You said: hello"]


async def ended_stream(chatd: InProcessDaemon, chat_id: str, break_it: Any) -> tuple[ChatView, Any]:
    """Follow a chat while it is broken. Return what was seen, and the response to the next attempt."""
    view = ChatView()
    following = asyncio.create_task(chatd.api.follow(chat_id, view, lambda _: False))
    await eventually(lambda: view.status)
    await break_it
    with anyio.fail_after(TIMEOUT_SECONDS):
        await following
    headers = {"last-event-id": view.cursor or ""}
    async with chatd.api.http.stream(
        "GET", f"/api/v1/chats/{chat_id}/stream", headers=headers
    ) as again:
        return view, (again.status_code, await again.aread() if again.status_code != 200 else b"")


@pytest.mark.parametrize("name", ENTRIES)
async def test_entry_that_fails_ends_the_streams_of_its_chat_only(
    dsn: str, loose: asyncpg.Connection, name: str
) -> None:
    async with unharmed(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        _, (status, body) = await ended_stream(
            chatd, chat_id, loose.execute(ADD_ENTRY, UUID(chat_id), *ENTRIES[name])
        )
        assert status == 500
        assert b"chat_unreadable" in body
        await check_neighbour(chatd)


@pytest.mark.parametrize("name", ROWS)
async def test_row_that_fails_is_left_out_of_lists(
    dsn: str, loose: asyncpg.Connection, name: str
) -> None:
    async with unharmed(dsn) as chatd:
        ids = [(await chatd.api.create())["id"] for _ in range(3)]
        seen: list[str] = []

        async def follow_list() -> None:
            async with chatd.api.http.stream("GET", "/api/v1/chats/stream") as answer:
                async for line in answer.aiter_lines():
                    seen.extend([line])

        following = asyncio.create_task(follow_list())
        await eventually(lambda: any("snapshot" in line for line in seen))
        await loose.execute(ROWS[name], UUID(ids[1]))
        readable = "time" in name or "version" in name
        for path in ("/api/v1/chats", "/api/v1/chats?limit=2", "/api/v1/chats?status=waiting"):
            listed = await chatd.api.http.get(path)
            assert listed.status_code == 200, listed.text
            found = [chat["id"] for chat in listed.json()["items"]]
            assert {ids[0], ids[2]} <= {*found, *(ids if "limit" in path and readable else ())}
            assert readable or ids[1] not in found
        await chatd.api.http.patch(f"/api/v1/chats/{ids[0]}", json={"title": "still listed"})
        await eventually(lambda: any("still listed" in line for line in seen))
        following.cancel()
        await asyncio.wait([following])
        await check_neighbour(chatd)


FAILS_TO_BE_CLAIMED = (
    "JSON of another shape",
    "JSON nested too deeply",
    "the highest version",
    "a trigger",
)


@pytest.mark.parametrize("name", FAILS_TO_BE_CLAIMED)
async def test_chat_that_cannot_be_claimed_holds_up_no_other(
    dsn: str, loose: asyncpg.Connection, name: str
) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        ids = [(await front.api.create(f"number {n}"))["id"] for n in range(5)]
    if name == "a trigger":
        await loose.execute(RAISING.format(chat_id=ids[2]))
    else:
        await loose.execute(ROWS[name], UUID(ids[2]))
    async with unharmed(dsn) as chatd:
        for chat_id in (*ids[:2], *ids[3:]):
            await chatd.api.wait_for_status(chat_id, "waiting")
        await check_neighbour(chatd)
        cut = await chatd.wait_for_log("containment.cut", actor="claimer")
        assert cut["chat_id"] == ids[2]
        if name.startswith("JSON"):
            await eventually(lambda: is_failed(loose, ids[2]))
            assert len(chatd.logged("containment.cut", actor="claimer")) == 1, "it failed, too"
        counted = (await scrape(chatd)).sum_of("chatd_cuts_total", actor="claimer")
        assert counted >= 1


async def is_failed(connection: asyncpg.Connection, chat_id: str) -> bool:
    row = await connection.fetchrow(
        "SELECT status, last_error FROM chats WHERE id = $1", UUID(chat_id)
    )
    return row is not None and row["status"] == "error" and "cannot read" in row["last_error"]


async def test_foreign_notifications(dsn: str, loose: asyncpg.Connection) -> None:
    async with unharmed(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        for payload in (
            "",
            "x",
            f"a {chat_id} {'9' * 6000} pending",
            f"a {chat_id} -1 paused",
            "ü" * 2000,
        ):
            await loose.execute("SELECT pg_notify('chatd', $1)", payload)
        await check_neighbour(chatd)


async def test_parts_that_cannot_be_stored_hold_up_no_other(
    dsn: str, loose: asyncpg.Connection
) -> None:
    """Another replica sees the messages of both chats, since no message depends on stored parts."""
    async with unharmed(dsn) as _, running_daemon(dsn, worker={"enabled": False}) as other:
        await loose.execute(
            "ALTER TABLE chat_parts ADD CONSTRAINT small CHECK (parts::text NOT LIKE '%poison%')"
        )
        poisoned, neighbour = [(await other.api.create(text))["id"] for text in ("poison", "good")]
        for chat_id in (poisoned, neighbour):
            await other.api.wait_for_status(chat_id, "waiting")
        assert await other.api.texts(poisoned) == ["You said: poison"]


async def test_reaper_goes_on_with_the_chats_that_it_can_reap(
    dsn: str, loose: asyncpg.Connection
) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        ids = [(await front.api.create(f"number {n}"))["id"] for n in range(4)]
    await loose.execute(
        "UPDATE chats SET status = 'running', worker_id = gen_random_uuid(), epoch = 1,"
        " pending_since = NULL, started_at = clock_timestamp() - interval '1 hour',"
        " heartbeat_at = clock_timestamp() - interval '1 hour'"
    )
    await loose.execute(RAISING.format(chat_id=ids[1]))
    async with unharmed(dsn) as chatd:
        for chat_id in (ids[0], *ids[2:]):
            await chatd.api.wait_for_status(chat_id, "waiting")
        cut = await chatd.wait_for_log("containment.cut", actor="reaper")
        assert cut["chat_id"] == ids[1]
        await check_neighbour(chatd)


async def test_waker_goes_on_with_the_chats_that_it_can_wake(
    dsn: str, loose: asyncpg.Connection
) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        ids = [(await front.api.create(f"number {n}"))["id"] for n in range(4)]
    await loose.execute(
        "UPDATE chats SET status = 'parked', pending_since = NULL,"
        " action_deadline = clock_timestamp() + interval '1 hour'"
    )
    await loose.execute(RAISING.format(chat_id=ids[1]))
    async with unharmed(dsn) as chatd:
        for chat_id in (ids[0], *ids[2:]):
            await chatd.api.wait_for_status(chat_id, "waiting")
        cut = await chatd.wait_for_log("containment.cut", actor="waker")
        assert cut["chat_id"] == ids[1]
        woken = chatd.logged("chat.woken")
        assert {line["chat_id"] for line in woken} == {ids[0], *ids[2:]}
        assert (await scrape(chatd)).sum_of("chatd_cuts_total", actor="waker") >= 1
        await check_neighbour(chatd)


async def test_chat_that_cannot_be_reported_on_holds_up_no_other(
    dsn: str, loose: asyncpg.Connection
) -> None:
    """A row that refuses its activity costs neither the lease of the worker nor other reports."""
    script = [{"text": "Wait "}, {"hang": True}]
    async with running_daemon(dsn, scripted(script), worker=QUICK) as chatd:
        ids = [(await chatd.api.create("hello"))["id"] for _ in range(2)]
        for chat_id in ids:
            await chatd.api.wait_for_status(chat_id, "running")
        await loose.execute(RAISING.format(chat_id=ids[0]))
        cut = await chatd.wait_for_log("containment.cut", actor="activity")
        assert cut["chat_id"] == ids[0]
        await loose.execute("DROP TRIGGER refuse ON chats")
        assert not chatd.logged("supervisor.child_failed")
        for chat_id in ids:
            assert (await chatd.api.chat(chat_id))["status"] == "running"
