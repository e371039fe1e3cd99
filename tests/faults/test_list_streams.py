"""List streams over HTTP: disconnected at any moment, resumed anywhere, and nothing is missed."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import scripted
from support.requests import open_stream
from support.sse_client import SseEvent
from support.streams import LARGE_LABELS, non_reading_client, read_to_end, stream_events

from chatd.domain.chat_list import decode_cursor, encode_cursor
from chatd.store.database import Database

PATH = "/api/v1/chats/stream"
SEED = random.randrange(10**6)
QUIET = {"sse_keepalive_seconds": 0.2}


@dataclass
class ListView:
    """The state that the simplest client has of a list."""

    cursor: str | None = None
    chats: dict[str, Any] = field(default_factory=dict)
    event_types: list[str] = field(default_factory=list)
    snapshot_ids: list[str] = field(default_factory=list)
    """The chats of the last snapshot, in its order."""

    def apply(self, event: SseEvent, sent_versions: dict[str, int] | None = None) -> None:
        self.event_types.append(event.event)
        self.cursor = event.id or self.cursor
        match event.event:
            case "snapshot":
                self.chats = {chat["id"]: chat for chat in event.data["items"]}
                self.snapshot_ids = list(self.chats)
            case "chat":
                chat = event.data
                if sent_versions is not None:
                    assert sent_versions.get(chat["id"], 0) < chat["version"], (
                        "twice on one connection"
                    )
                    sent_versions[chat["id"]] = chat["version"]
                if self.chats.get(chat["id"], {"version": 0})["version"] < chat["version"]:
                    self.chats[chat["id"]] = chat
            case "deleted":
                self.chats.pop(event.data["id"], None)


async def read_some(chatd: InProcessDaemon, view: ListView, max_events: int) -> int:
    """Read at most ``max_events`` of one connection, or up to a keep-alive. Return their number."""
    sent_versions: dict[str, int] = {}
    count = 0
    with anyio.fail_after(TIMEOUT_SECONDS):
        async with aclosing(stream_events(chatd, PATH, view.cursor)) as events:
            while count < max_events:
                event = await anext(events, None)
                if event is None:
                    break
                view.apply(event, sent_versions)
                count += 1
    return count


@asynccontextmanager
async def following(chatd: InProcessDaemon, view: ListView) -> AsyncIterator["asyncio.Task[None]"]:
    """Follow in the background from the view's cursor. The stream is open when the context is entered."""

    async def follow() -> None:
        async with aclosing(stream_events(chatd, PATH, view.cursor)) as events:
            async for event in events:
                if event is not None:
                    view.apply(event)

    before = chatd.daemon.services.list_hub.subscriber_count
    task = asyncio.create_task(follow())
    try:
        await eventually(
            lambda: chatd.daemon.services.list_hub.subscriber_count > before or task.done()
        )
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def stored_chats(chatd: InProcessDaemon) -> dict[str, Any]:
    """Return the chats of the list as they are stored."""
    found: dict[str, Any] = {}
    params: dict[str, Any] = {"limit": 200}
    while True:
        page = (await chatd.api.http.get("/api/v1/chats", params=params)).json()
        found |= {chat["id"]: chat for chat in page["items"]}
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def change(chatd: InProcessDaemon, chat_id: str, **fields: Any) -> None:
    response = await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json=fields)
    assert response.status_code == 200, response.text


async def delete(chatd: InProcessDaemon, chat_id: str) -> None:
    response = await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
    assert response.status_code == 204, response.text


async def test_list_stream_starts_with_a_snapshot_and_continues(dsn: str) -> None:
    async with running_daemon(dsn, http=QUIET) as chatd:
        old_ids = [(await chatd.api.create(title=str(n)))["id"] for n in range(52)]
        view = ListView()
        async with following(chatd, view):
            await eventually(lambda: view.event_types)
            assert view.snapshot_ids == old_ids[:1:-1]
            new = (await chatd.api.create("hello", title="new"))["id"]
            await eventually(lambda: view.chats.get(new, {}).get("status") == "waiting")
            await change(chatd, old_ids[0], title="touched")
            await eventually(lambda: view.chats.get(old_ids[0], {}).get("title") == "touched")
            await delete(chatd, old_ids[1])
            await delete(chatd, old_ids[5])
            await eventually(lambda: view.event_types.count("deleted") == 2)
            stored = await stored_chats(chatd)
            assert view.chats == stored
        assert set(view.event_types) == {"snapshot", "chat", "deleted"}
        await eventually(lambda: chatd.daemon.services.list_hub.subscriber_count == 0)


async def test_snapshot_page_cursor_leads_to_the_rest_of_the_list(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat_ids = [(await chatd.api.create())["id"] for _ in range(53)]
        async with aclosing(stream_events(chatd, PATH)) as events:
            snapshot = await anext(events)
        assert snapshot is not None
        assert [chat["id"] for chat in snapshot.data["items"]] == chat_ids[:2:-1]
        params = {"cursor": snapshot.data["next_cursor"]}
        rest = (await chatd.api.http.get("/api/v1/chats", params=params)).json()
        assert [chat["id"] for chat in rest["items"]] == chat_ids[2::-1]


async def test_empty_list_can_be_resumed(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=QUIET) as (here, there):
        view = ListView()
        await read_some(here, view, 10)
        assert view.event_types == ["snapshot"]
        chat = await here.api.create()
        await read_some(there, view, 10)
        assert view.event_types == ["snapshot", "chat"]
        assert view.chats == {chat["id"]: chat}


async def test_resume_sends_the_latest_states_and_deletions(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=QUIET) as (here, there):
        a, b, c = [(await here.api.create(title=title))["id"] for title in "abc"]
        view = ListView()
        await read_some(here, view, 10)
        for n in range(5):
            await change(here, a, title=f"a{n}")
        await delete(there, b)
        short = (await there.api.create())["id"]  # Created and deleted in between.
        await delete(there, short)
        d = (await there.api.create("hello"))["id"]
        await there.api.wait_for_status(d, "waiting")
        for after in (view.cursor, view.cursor):  # The same cursor may be used twice.
            resumed = ListView(after, dict(view.chats))
            await read_some(there, resumed, 100)
            assert resumed.chats == await stored_chats(here)
            assert resumed.chats.keys() == {a, c, d}
            assert resumed.event_types.count("deleted") == 2
            assert resumed.event_types.count("chat") <= 4


@pytest.mark.parametrize("by_query", [False, True])
async def test_cursor_that_cannot_be_resumed_is_reset(
    dsn: str, database: Database, by_query: bool
) -> None:
    async with running_daemon(dsn, http=QUIET, stream={"event_retention_days": 1}) as chatd:
        chat = await chatd.api.create()
        async with aclosing(stream_events(chatd, PATH)) as events:
            snapshot = await anext(events)
        assert snapshot is not None
        assert snapshot.id is not None
        now, day = decode_cursor(snapshot.id), timedelta(days=1)
        cursors = ["x", "1.0.0", "9" * 18, encode_cursor(now + day), encode_cursor(now - day), "0"]
        for cursor in cursors:
            async with aclosing(
                stream_events(chatd, PATH, cursor, after_in_query=by_query)
            ) as events:
                reset, snapshot_again = await anext(events), await anext(events)
            assert reset is not None
            assert snapshot_again is not None
            assert (reset.event, snapshot_again.event) == ("reset", "snapshot"), cursor
            assert snapshot_again.data["items"] == [chat]
        view = ListView(encode_cursor(now - day + timedelta(minutes=1)))
        await read_some(chatd, view, 10)
        assert view.event_types == ["chat"]


async def test_list_streams_of_owners_are_separate(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, http=QUIET) as chatd:
        mine = (await chatd.api.create())["id"]
        view = ListView()
        async with following(chatd, view):
            await eventually(lambda: view.event_types)
            await database.fetch(
                "INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id)"
                " SELECT id, id, 'bob', m FROM (SELECT gen_random_uuid() AS id,"
                " last_model_config_id AS m FROM chats) new"
            )
            await database.fetch(
                "INSERT INTO chat_tombstones (owner_id, chat_id) VALUES ('bob', $1)", uuid4()
            )
            await change(chatd, mine, title="last")
            await eventually(lambda: view.chats[mine]["title"] == "last")
            assert view.event_types == ["snapshot", "chat"]


async def test_many_missed_chats_are_sent_in_several_reads(dsn: str, database: Database) -> None:
    """Also those that changed in the very same moment. A disconnect loses none of them."""
    async with running_daemon(dsn, http=QUIET) as chatd:
        view = ListView()
        first = (await chatd.api.create())["id"]
        await read_some(chatd, view, 10)
        await database.fetch(
            "INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, updated_at)"
            " SELECT id, id, 'local', m, clock_timestamp() - n / 900 * interval '1 ms' FROM ("
            " SELECT gen_random_uuid() AS id, last_model_config_id AS m, n"
            " FROM chats, generate_series(1, 2000) n) new"
        )
        numbers = random.Random(SEED)
        while (
            await read_some(chatd, view, numbers.choice([100, 700, 3000]))
            and len(view.chats) < 2001
        ):
            pass
        assert view.chats.keys() == (await stored_chats(chatd)).keys(), SEED
        assert first in view.chats


async def test_drained_list_stream_resumes_on_another_replica(dsn: str) -> None:
    async with running_daemon(dsn) as there:
        view = ListView()
        async with running_daemon(dsn) as here, following(here, view) as task:
            await eventually(lambda: view.event_types)
            await there.api.create(title="a")
            await eventually(lambda: "chat" in view.event_types)
            await here.stop()
            await eventually(task.done)
            assert view.event_types[-1] == "draining"
        b = (await there.api.create(title="b"))["id"]
        async with following(there, view):
            await eventually(lambda: b in view.chats)
        assert view.chats == await stored_chats(there)


async def test_slow_list_consumer_is_disconnected_and_resumes(dsn: str) -> None:
    stream = {"subscriber_buffer": 20}
    async with running_daemon(dsn, http=QUIET, stream=stream, worker={"enabled": False}) as chatd:
        hub = chatd.daemon.services.list_hub
        async with non_reading_client(chatd, PATH) as connection:
            [view] = await eventually(
                lambda: [v for one in hub._topics.values() for v in one.subscriptions]
            )
            await eventually(hub.pending_reads)
            number = 0
            while not view.overflowed:
                number += 1
                assert number < 500, "it should have been disconnected by now"
                await chatd.api.create(title=str(number), labels=LARGE_LABELS)
            assert view._pending == {}
            read = await read_to_end(connection)
        assert read.startswith(b"HTTP/1.1 200")
        read_view = ListView()
        for block in read.split(b"\n\n"):
            ids = [line[4:] for line in block.splitlines() if line.startswith(b"id: ")]
            read_view.cursor = ids[0].decode() if ids else read_view.cursor
        await read_some(chatd, read_view, 10**6)
        missing = (await stored_chats(chatd)).keys() - read_view.chats.keys()
        sent = read.count(b"event: chat")
        assert len(missing) <= sent
        await eventually(lambda: hub.subscriber_count == 0)


async def test_lists_are_read_together_and_only_with_subscribers(dsn: str) -> None:
    async with running_daemon(dsn, worker={"enabled": False, "poll_seconds": 3600}) as chatd:
        lists = chatd.daemon.services.store.chat_lists
        reads: list[int] = []
        changed_since = lists.changed_since
        may_read = asyncio.Event()
        may_read.set()

        async def count_read(queries: Any, **more: Any) -> Any:
            await may_read.wait()
            reads.append(len(queries))
            return await changed_since(queries, **more)

        lists.changed_since = count_read  # type: ignore[method-assign]
        await chatd.api.create()
        assert reads == []
        views = [ListView() for _ in range(4)]
        async with (
            following(chatd, views[0]),
            following(chatd, views[1]),
            following(chatd, views[2]),
            following(chatd, views[3]),
        ):
            await eventually(lambda: all(view.event_types for view in views))
            await eventually(lambda: len(reads) >= 5)
            may_read.clear()
            reads.clear()
            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(chatd.api.create())
            may_read.set()
            await eventually(lambda: all(len(view.chats) == 51 for view in views))
            reads_before = 0

            async def is_settled() -> bool:
                nonlocal reads_before
                before, reads_before = reads_before, len(reads)
                return before == reads_before

            await eventually(is_settled, interval_seconds=0.3)  # Nothing polls.
            assert set(reads) == {1}  # Four subscribers, one list.
            assert len(reads) <= 3  # One under way, one for all hints, one late.
            assert all(view.event_types.count("chat") == 50 for view in views)


class RandomWorkload:
    """Callers that change a list at random, and clients that disconnect at random, on either replica."""

    def __init__(self, replicas: list[InProcessDaemon]) -> None:
        self.numbers = random.Random(SEED)
        self.replicas = replicas
        self.is_running = True
        self.chats: list[str] = []

    async def call(self, times: int) -> None:
        for _ in range(times):
            chatd = self.numbers.choice(self.replicas)
            kind = self.numbers.choice(
                ["create", "send", "title", "interrupt", "archive", "delete"]
            )
            if not self.chats or kind == "create":
                self.chats.append(
                    (await chatd.api.create(self.numbers.choice([None, "hello"])))["id"]
                )
                continue
            path = f"/api/v1/chats/{self.numbers.choice(self.chats)}"
            http = chatd.api.http
            match kind:
                case "send":
                    response = await http.post(f"{path}/messages", json={"content": "more"})
                case "title":
                    response = await http.patch(path, json={"title": str(self.numbers.random())})
                case "interrupt":
                    response = await http.post(f"{path}/interrupt")
                case "archive":
                    response = await http.patch(
                        path, json={"archived": self.numbers.random() < 0.3}
                    )
                case _:
                    response = await http.delete(path)
            assert response.status_code < 500, response.text

    async def view(self) -> ListView:
        view = ListView()
        while self.is_running:
            max_events = self.numbers.choice([0, 1, 1, 2, 5, 20])
            await read_some(self.numbers.choice(self.replicas), view, max_events)
        for _ in range(2):  # The rest, then only what the overlap repeats.
            while await read_some(self.numbers.choice(self.replicas), view, 10**6) > 200:
                pass
        return view


async def test_randomly_disconnected_list_clients_end_with_the_stored_state(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=QUIET) as replicas:
        workload = RandomWorkload(replicas)
        async with asyncio.TaskGroup() as group:
            views = [group.create_task(workload.view()) for _ in range(6)]
            callers = [group.create_task(workload.call(60)) for _ in range(4)]
            await asyncio.wait(callers)
            await eventually(lambda: all_idle(replicas[0]))
            workload.is_running = False
        stored = await stored_chats(replicas[0])
        for task in views:
            assert task.result().chats == stored, SEED
        for replica in replicas:
            await eventually(
                lambda replica=replica: replica.daemon.services.list_hub.subscriber_count == 0
            )
            assert replica.daemon.services.list_hub._topics == {}


async def all_idle(chatd: InProcessDaemon) -> bool:
    return all(
        chat["status"] in {"waiting", "error"} for chat in (await stored_chats(chatd)).values()
    )


async def test_list_stream_request_errors_are_problems(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with open_stream(chatd, PATH) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
        await eventually(lambda: chatd.daemon.services.list_hub.subscriber_count == 0)
