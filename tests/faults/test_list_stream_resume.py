"""List streams that are disconnected at any moment and resumed anywhere: nothing is missed."""

import random
from contextlib import aclosing
from datetime import timedelta

import pytest
from support.eventually import eventually
from support.in_process import running_daemon, running_daemons
from support.list_streams import (
    FAST_KEEPALIVE,
    LIST_STREAM,
    SEED,
    ListView,
    change_chat,
    delete_chat,
    following,
    read_some,
    stored_chats,
)
from support.providers import scripted
from support.streams import LARGE_LABELS, non_reading_client, read_to_end, stream_events

from chatd.domain.chat_list import decode_cursor, encode_cursor
from chatd.store.database import Database


async def test_empty_list_can_be_resumed(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=FAST_KEEPALIVE) as (here, there):
        view = ListView()
        await read_some(here, view, 10)
        assert view.event_types == ["snapshot"]
        chat = await here.api.create()
        await read_some(there, view, 10)
        assert view.event_types == ["snapshot", "chat"]
        assert view.chats == {chat["id"]: chat}


async def test_resume_sends_the_latest_states_and_deletions(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=FAST_KEEPALIVE) as (here, there):
        a, b, c = [(await here.api.create(title=title))["id"] for title in "abc"]
        view = ListView()
        await read_some(here, view, 10)
        for n in range(5):
            await change_chat(here, a, title=f"a{n}")
        await delete_chat(there, b)
        short = (await there.api.create())["id"]  # Created and deleted in between.
        await delete_chat(there, short)
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
    async with running_daemon(
        dsn, http=FAST_KEEPALIVE, stream={"event_retention_days": 1}
    ) as chatd:
        chat = await chatd.api.create()
        async with aclosing(stream_events(chatd, LIST_STREAM)) as events:
            snapshot = await anext(events)
        assert snapshot is not None
        assert snapshot.id is not None
        now, day = decode_cursor(snapshot.id), timedelta(days=1)
        cursors = ["x", "1.0.0", "9" * 18, encode_cursor(now + day), encode_cursor(now - day), "0"]
        for cursor in cursors:
            async with aclosing(
                stream_events(chatd, LIST_STREAM, cursor, after_in_query=by_query)
            ) as events:
                reset, snapshot_again = await anext(events), await anext(events)
            assert reset is not None
            assert snapshot_again is not None
            assert (reset.event, snapshot_again.event) == ("reset", "snapshot"), cursor
            assert snapshot_again.data["items"] == [chat]
        view = ListView(encode_cursor(now - day + timedelta(minutes=1)))
        await read_some(chatd, view, 10)
        assert view.event_types == ["chat"]


async def test_many_missed_chats_are_sent_in_several_reads(dsn: str, database: Database) -> None:
    """Chats that changed at the same time are sent too. A disconnect loses none of them."""
    async with running_daemon(dsn, http=FAST_KEEPALIVE) as chatd:
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
    async with running_daemon(
        dsn, http=FAST_KEEPALIVE, stream=stream, worker={"enabled": False}
    ) as chatd:
        hub = chatd.daemon.services.list_hub
        async with non_reading_client(chatd, LIST_STREAM) as connection:
            [view] = await eventually(
                lambda: [v for topic in hub._topics.values() for v in topic.subscriptions]
            )
            await eventually(hub.pending_reads)
            number = 0
            while not view.overflowed:
                number += 1
                assert number < 500, "it should have been disconnected by now"
                await chatd.api.create(title=str(number), labels=LARGE_LABELS)
            assert view._pending == {}
            received = await read_to_end(connection)
        assert received.startswith(b"HTTP/1.1 200")
        read_view = ListView()
        for block in received.split(b"\n\n"):
            ids = [line[4:] for line in block.splitlines() if line.startswith(b"id: ")]
            read_view.cursor = ids[0].decode() if ids else read_view.cursor
        await read_some(chatd, read_view, 10**6)
        missing = (await stored_chats(chatd)).keys() - read_view.chats.keys()
        sent = received.count(b"event: chat")
        assert len(missing) <= sent
        await eventually(lambda: hub.subscriber_count == 0)
