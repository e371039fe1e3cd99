"""Cursors over HTTP: each one yields exactly the rest, on any replica, at any time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)
from support.sse_client import ChatView, SseEvent
from support.streams import (
    available_events,
    background_subscriber,
    chat_stream_events,
    journal_events,
)

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

HTTP = {"sse_keepalive_seconds": 0.15}
FAST = {"flush_interval_seconds": 0.01}


class EventfulProvider:
    """A provider whose turn has a failed attempt, a tool call, and an end that waits for ``go``."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._stream)
        self.go = asyncio.Event()
        self.waiting_turns = 0
        self._calls = 0

    async def _stream(self, request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "short":
            yield text_delta("short answer")
            yield finished()
            return
        self._calls += 1
        for n in range(3):
            yield text_delta(f"{self._calls}/{n} ")
            await asyncio.sleep(0.02)  # The parts are flushed in several batches.
        if self._calls == 1:
            raise ProviderError("no", status_code=503)
        if self._calls == 2:
            yield tool_call_delta("t", "c", index=1)
            yield finished("tool_call")
            return
        self.waiting_turns += 1
        await self.go.wait()
        yield text_delta("the end")
        yield finished()


async def test_resume_after_each_event_yields_exactly_the_rest(dsn: str) -> None:
    provider = EventfulProvider()
    async with (
        running_daemons(dsn, [provider.provider] * 2, http=HTTP, stream=FAST) as replicas,
        AsyncExitStack() as stack,
    ):
        api = replicas[0].api
        chat_id = (await api.create())["id"]
        runs = [
            (await stack.enter_async_context(background_subscriber(replica, chat_id))).events
            for replica in replicas
        ]
        await api.send(chat_id, "long")
        await eventually(lambda: provider.waiting_turns)
        await api.send(chat_id, "short")
        await api.http.patch(f"/api/v1/chats/{chat_id}", json={"title": "a title"})
        last = (await api.chat(chat_id))["version"]
        # 3 parts of the failed attempt, 4 of the tool call, 3 of the running step.
        last_cursor = f"{last}.1.10"
        for run in runs:
            await eventually(
                lambda run=run: run[-1].id == last_cursor, describe=lambda run=run: run[-1].id
            )
        # The step still runs, so every resumed stream has its parts.
        for run in runs:
            for replica in replicas:
                await check_resume_at_each_event(replica, chat_id, run, parts=True)
        provider.go.set()
        await api.wait_for_status(chat_id, "waiting")
        final = (await api.chat(chat_id))["version"]
        for run in runs:
            await eventually(lambda run=run: version(run[-1]) == final)
            for replica in replicas:
                await check_resume_at_each_event(replica, chat_id, run, parts=False)
        assert journal_events(runs[0])[1:] == journal_events(runs[1])[1:]
        event_types = {event.event for event in runs[0]}
        assert event_types == {
            "snapshot",
            "status",
            "message",
            "message_part",
            "preview_reset",
            "retry",
            "queue_update",
            "chat",
        }


def version(event: SseEvent) -> int:
    assert event.id is not None
    return int(event.id.split(".")[0])


async def check_resume_at_each_event(
    replica: InProcessDaemon, chat_id: str, run: list[SseEvent], *, parts: bool
) -> None:
    """Resume after every event of a run, and compare with the events that followed."""
    cursors = [event.id for event in run]
    assert None not in cursors
    assert len(set(cursors)) == len(cursors), "each event has a cursor of its own"

    async def resume(number: int) -> None:
        received = await available_events(replica, chat_id, cursors[number])
        expected = run[number + 1 :]
        assert journal_events(received) == journal_events(expected), cursors[number]
        if not parts:
            assert not [e for e in received if e.event == "message_part"], cursors[number]
            return
        running = [e.data for e in expected if e.event == "message_part" and in_last_step(run, e)]
        assert [e.data for e in received if e.event == "message_part"] == running, cursors[number]

    async with asyncio.TaskGroup() as group:
        for number in range(len(run)):
            group.create_task(resume(number))


def in_last_step(run: list[SseEvent], event: SseEvent) -> bool:
    """Return whether no message of the model followed this part."""
    after = run[run.index(event) + 1 :]
    ends = [e for e in after if e.event == "preview_reset"]
    ends += [e for e in after if e.event == "message" and e.data["role"] != "user"]
    return not ends


async def test_cursor_is_taken_from_the_header_or_the_query(dsn: str) -> None:
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        by_header = await available_events(chatd, chat["id"], "1.0.0")
        assert [e.event for e in by_header] == ["status", "message", "status"]
        in_the_middle = str(by_header[1].id)
        assert not in_the_middle.replace(".", "").isdigit()
        for after, expected in (("1.0.0", by_header), (in_the_middle, by_header[2:])):
            by_query = []
            async for event in chat_stream_events(chatd, chat["id"], after, after_in_query=True):
                if event is None:
                    break
                by_query.append(event)
            assert by_query == expected
        response = await chatd.api.http.send(
            chatd.api.http.build_request(
                "GET",
                f"/api/v1/chats/{chat['id']}/stream",
                headers={"last-event-id": by_header[-1].id},
                params={"after": "1.0.0"},
            ),
            stream=True,
        )
        async for line in response.aiter_lines():
            assert line.startswith(":")  # The header takes precedence.
            break
        await response.aclose()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "1",
        "1.2",
        "1.2.3.4",
        "-1.0.0",
        "1.0.0~",
        "1.0.0~x",
        "1.0.0+1",
        "1.0.0 ",
        "1e3.0.0",
        "0x1.0.0",
        "1_0.0.0",
        "99999.0.0",
        "1.99999.0",
        "9" * 18 + ".0.0",
        "9" * 40 + ".0.0",
        "\N{ARABIC-INDIC DIGIT ONE}.0.0",
        "+1.0.0",
        "..",
        "'; DROP TABLE chats; --",
        "%00",
    ],
)
async def test_malformed_cursor_gets_a_snapshot(dsn: str, cursor: str) -> None:
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        received = []
        async for event in chat_stream_events(chatd, chat["id"], cursor, after_in_query=True):
            if event is None:
                break
            received.append(event)
        assert [e.event for e in received] == ["reset", "snapshot"]
        assert received[0].data["reason"]
        assert received[0].id is None
        assert received[1].data["chat"]["status"] == "waiting"
        view = ChatView()
        for event in received:
            view.apply(event)
        assert list(view.messages.values()) == ["hello", "You said: hello"]


async def test_empty_cursor_gets_a_snapshot(dsn: str) -> None:
    """A browser sends one before it has received anything."""
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create()
        assert [e.event for e in await available_events(chatd, chat["id"], "")] == ["snapshot"]


async def test_cursor_past_the_retention_is_reset(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create()
        for number in range(10):
            await chatd.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": str(number)})
        await database.fetch("DELETE FROM chat_events WHERE version <= 5")
        received = await available_events(chatd, chat["id"], "5.0.0")
        assert [e.data["title"] for e in received] == [str(n) for n in range(4, 10)]
        received = await available_events(chatd, chat["id"], "4.0.0")
        assert [e.event for e in received] == ["reset", "snapshot"]
        assert received[1].id == "11.0.0"


async def test_pruned_journal_ends_the_stream_of_a_subscriber(dsn: str, database: Database) -> None:
    """An entry that was never sent is gone, so the client must not believe that it has received all."""
    worker = {"enabled": False, "poll_seconds": 0.1}
    async with running_daemon(dsn, http=HTTP, worker=worker) as chatd:
        chat = await chatd.api.create()
        async with background_subscriber(chatd, chat["id"]) as subscriber:
            await database.fetch(
                "WITH updated AS (UPDATE chats SET version = version + 2, title = 'x' RETURNING *)"
                " INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)"
                " SELECT id, version, 'describe', status, epoch,"
                ' \'{"title": "x", "labels": {}, "archived": false}\' FROM updated'
            )
            await asyncio.wait_for(subscriber.task, 30)
        assert [e.event for e in subscriber.events] == ["snapshot"]
        resumed = await available_events(chatd, chat["id"], subscriber.events[-1].id)
        assert [e.event for e in resumed] == ["reset", "snapshot"]
        assert resumed[1].data["chat"]["title"] == "x"


async def test_stream_of_an_unknown_chat_is_404(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        path = "/api/v1/chats/00000000-0000-4000-8000-00000000abcd/stream"
        for headers in ({}, {"last-event-id": "1.0.0"}, {"last-event-id": "x"}):
            response = await chatd.api.http.get(path, headers=headers)
            assert (response.status_code, response.json()["code"]) == (404, "chat_not_found")
        assert chatd.daemon.services.hub.subscriber_count == 0
        assert not chatd.daemon.services.hub._topics


async def test_deleted_chat_ends_its_streams(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"poll_seconds": 0.1}) as chatd:
        chat = await chatd.api.create()
        async with background_subscriber(chatd, chat["id"]) as subscriber:
            await database.fetch("DELETE FROM chats")
            await asyncio.wait_for(subscriber.task, 30)
        assert chatd.daemon.services.hub.subscriber_count == 0


async def test_idle_stream_sends_keep_alives(dsn: str) -> None:
    async with running_daemon(dsn, http={"sse_keepalive_seconds": 0.05}) as chatd:
        chat = await chatd.api.create()
        comments = 0
        async for event in chat_stream_events(chatd, chat["id"]):
            comments += event is None
            if comments == 3:
                break


async def test_shutdown_sends_draining_and_ends_streams_cleanly(dsn: str) -> None:
    async with running_daemons(dsn, [EventfulProvider().provider] * 2) as replicas:
        chat = await replicas[0].api.create("long")
        async with background_subscriber(replicas[0], chat["id"]) as subscriber:
            await replicas[0].stop()
            await asyncio.wait_for(subscriber.task, 30)  # A truncated response would raise.
        assert subscriber.events[-1].event == "draining"
        assert subscriber.events[-1].id is None
        cursor = subscriber.events[-2].id
        resumed = chat_stream_events(replicas[1], chat["id"], cursor)
        event_types = [event.event async for event in until_status(resumed, "running")]
        assert "reset" not in event_types
        assert "snapshot" not in event_types


async def until_status(
    events: AsyncIterator[SseEvent | None], status: str
) -> AsyncIterator[SseEvent]:
    async for event in events:
        if event is not None:
            yield event
            if event.event == "status" and event.data["status"] == status:
                return
