"""List streams over HTTP: a snapshot, then every change of the owner's chats."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from support.eventually import eventually
from support.in_process import running_daemon
from support.list_streams import (
    FAST_KEEPALIVE,
    LIST_STREAM,
    ListView,
    change_chat,
    delete_chat,
    following,
    stored_chats,
)
from support.requests import open_stream
from support.streams import stream_events

from chatd.store.database import Database


async def test_list_stream_starts_with_a_snapshot_and_continues(dsn: str) -> None:
    async with running_daemon(dsn, http=FAST_KEEPALIVE) as chatd:
        old_ids = [(await chatd.api.create(title=str(n)))["id"] for n in range(52)]
        view = ListView()
        async with following(chatd, view):
            await eventually(lambda: view.event_types)
            assert view.snapshot_ids == old_ids[:1:-1]
            new = (await chatd.api.create("hello", title="new"))["id"]
            await eventually(lambda: view.chats.get(new, {}).get("status") == "waiting")
            await change_chat(chatd, old_ids[0], title="touched")
            await eventually(lambda: view.chats.get(old_ids[0], {}).get("title") == "touched")
            await delete_chat(chatd, old_ids[1])
            await delete_chat(chatd, old_ids[5])
            await eventually(lambda: view.event_types.count("deleted") == 2)
            stored = await stored_chats(chatd)
            assert view.chats == stored
        assert set(view.event_types) == {"snapshot", "chat", "deleted"}
        await eventually(lambda: chatd.daemon.services.list_hub.subscriber_count == 0)


async def test_snapshot_page_cursor_leads_to_the_rest_of_the_list(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat_ids = [(await chatd.api.create())["id"] for _ in range(53)]
        async with aclosing(stream_events(chatd, LIST_STREAM)) as events:
            snapshot = await anext(events)
        assert snapshot is not None
        assert [chat["id"] for chat in snapshot.data["items"]] == chat_ids[:2:-1]
        params = {"cursor": snapshot.data["next_cursor"]}
        rest = (await chatd.api.http.get("/api/v1/chats", params=params)).json()
        assert [chat["id"] for chat in rest["items"]] == chat_ids[2::-1]


async def test_list_streams_of_owners_are_separate(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, http=FAST_KEEPALIVE) as chatd:
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
            await change_chat(chatd, mine, title="last")
            await eventually(lambda: view.chats[mine]["title"] == "last")
            assert view.event_types == ["snapshot", "chat"]


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


async def test_list_stream_request_errors_are_problems(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with open_stream(chatd, LIST_STREAM) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
        await eventually(lambda: chatd.daemon.services.list_hub.subscriber_count == 0)
