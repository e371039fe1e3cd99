"""Any cursor gives exactly the rest, on any replica, whenever one comes back with it."""

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


class Play:
    """A turn with everything in it: a failed attempt, a tool, and an end that waits to be let go."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.go = asyncio.Event()
        self.at_the_end = 0
        self._calls = 0

    async def _act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "short":
            yield text_delta("short answer")
            yield finished()
            return
        self._calls += 1
        for n in range(3):
            yield text_delta(f"{self._calls}/{n} ")
            await asyncio.sleep(0.02)  # so that the parts are flushed in several batches
        if self._calls == 1:
            raise ProviderError("no", status_code=503)
        if self._calls == 2:
            yield tool_call_delta("t", "c", index=1)
            yield finished("tool_call")
            return
        self.at_the_end += 1
        await self.go.wait()
        yield text_delta("the end")
        yield finished()


async def test_resume_after_each_event_yields_exactly_the_rest(dsn: str) -> None:
    play = Play()
    async with (
        running_daemons(dsn, [play.provider] * 2, http=HTTP, stream=FAST) as replicas,
        AsyncExitStack() as stack,
    ):
        api = replicas[0].api
        chat_id = (await api.create())["id"]
        runs = [
            (await stack.enter_async_context(background_subscriber(replica, chat_id))).events
            for replica in replicas
        ]
        await api.send(chat_id, "long")
        await eventually(lambda: play.at_the_end)
        await api.send(chat_id, "short")
        await api.http.patch(f"/api/v1/chats/{chat_id}", json={"title": "a title"})
        last = (await api.chat(chat_id))["version"]
        # 3 parts of the failed attempt, 4 of the tool call, 3 of the running step.
        shown = f"{last}.1.10"
        for run in runs:
            await eventually(
                lambda run=run: run[-1].id == shown, describe=lambda run=run: run[-1].id
            )
        # The step still runs: the rest has its parts, whoever asks.
        for run in runs:
            for replica in replicas:
                await compare(replica, chat_id, run, parts=True)
        play.go.set()
        await api.wait_for_status(chat_id, "waiting")
        final = (await api.chat(chat_id))["version"]
        for run in runs:
            await eventually(lambda run=run: version(run[-1]) == final)
            for replica in replicas:
                await compare(replica, chat_id, run, parts=False)
        assert journal_events(runs[0])[1:] == journal_events(runs[1])[1:]
        kinds = {event.event for event in runs[0]}
        assert kinds == {
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


async def compare(
    replica: InProcessDaemon, chat_id: str, run: list[SseEvent], *, parts: bool
) -> None:
    """Resume at every cursor of a run, and compare with what followed there."""
    cursors = [event.id for event in run]
    assert None not in cursors
    assert len(set(cursors)) == len(cursors), "a cursor must say which event was the last"

    async def resume(number: int) -> None:
        heard = await available_events(replica, chat_id, cursors[number])
        expected = run[number + 1 :]
        assert journal_events(heard) == journal_events(expected), cursors[number]
        if not parts:
            assert not [e for e in heard if e.event == "message_part"], cursors[number]
            return
        running = [e.data for e in expected if e.event == "message_part" and in_last_step(run, e)]
        assert [e.data for e in heard if e.event == "message_part"] == running, cursors[number]

    async with asyncio.TaskGroup() as group:
        for number in range(len(run)):
            group.create_task(resume(number))


def in_last_step(run: list[SseEvent], event: SseEvent) -> bool:
    """Whether no message of the model came after this part."""
    after = run[run.index(event) + 1 :]
    ends = [e for e in after if e.event == "preview_reset"]
    ends += [e for e in after if e.event == "message" and e.data["role"] != "user"]
    return not ends


async def test_cursor_is_taken_from_the_header_or_the_query(dsn: str) -> None:
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        by_header = await available_events(chatd, chat["id"], "1.0.0")
        by_query = []
        async for event in chat_stream_events(chatd, chat["id"], "1.0.0", after_in_query=True):
            if event is None:
                break
            by_query.append(event)
        assert by_header == by_query
        assert [e.event for e in by_header] == ["status", "message", "status"]
        both = await chatd.api.http.send(
            chatd.api.http.build_request(
                "GET",
                f"/api/v1/chats/{chat['id']}/stream",
                headers={"last-event-id": by_header[-1].id},
                params={"after": "1.0.0"},
            ),
            stream=True,
        )
        async for line in both.aiter_lines():
            assert line.startswith(":")  # the browser's own header knows better than the address
            break
        await both.aclose()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "1",
        "1.2",
        "1.2.3.4",
        "-1.0.0",
        "1.0.0+",
        "1.0.0+x",
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
        heard = []
        async for event in chat_stream_events(chatd, chat["id"], cursor, after_in_query=True):
            if event is None:
                break
            heard.append(event)
        assert [e.event for e in heard] == ["reset", "snapshot"]
        assert heard[0].data["reason"]
        assert heard[0].id is None
        assert heard[1].data["chat"]["status"] == "waiting"
        view = ChatView()
        for event in heard:
            view.apply(event)
        assert list(view.messages.values()) == ["hello", "You said: hello"]


async def test_empty_cursor_gets_a_snapshot(dsn: str) -> None:
    """What a browser sends before it has heard anything."""
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create()
        assert [e.event for e in await available_events(chatd, chat["id"], "")] == ["snapshot"]


async def test_cursor_past_the_retention_is_reset(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn, http=HTTP) as chatd:
        chat = await chatd.api.create()
        for number in range(10):
            await chatd.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": str(number)})
        await database.fetch("DELETE FROM chat_events WHERE version <= 5")
        heard = await available_events(chatd, chat["id"], "5.0.0")
        assert [e.data["title"] for e in heard] == [str(n) for n in range(4, 10)]
        heard = await available_events(chatd, chat["id"], "4.0.0")
        assert [e.event for e in heard] == ["reset", "snapshot"]
        assert heard[1].id == "11.0.0"


async def test_pruned_journal_ends_the_stream_of_a_subscriber(
    dsn: str, database: Database
) -> None:
    """A row that was never shown is gone: the viewer must not be left to believe it has seen all."""
    worker = {"enabled": False, "poll_seconds": 0.1}
    async with running_daemon(dsn, http=HTTP, worker=worker) as chatd:
        chat = await chatd.api.create()
        async with background_subscriber(chatd, chat["id"]) as viewer:
            await database.fetch(
                "WITH moved AS (UPDATE chats SET version = version + 2, title = 'x' RETURNING *)"
                " INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)"
                " SELECT id, version, 'describe', status, epoch,"
                ' \'{"title": "x", "labels": {}, "archived": false}\' FROM moved'
            )
            await asyncio.wait_for(viewer.task, 30)  # the stream ends by itself
        assert [e.event for e in viewer.events] == ["snapshot"]
        again = await available_events(chatd, chat["id"], viewer.events[-1].id)
        assert [e.event for e in again] == ["reset", "snapshot"]
        assert again[1].data["chat"]["title"] == "x"


async def test_stream_of_an_unknown_chat_is_404(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        path = "/api/v1/chats/00000000-0000-4000-8000-00000000abcd/stream"
        for headers in ({}, {"last-event-id": "1.0.0"}, {"last-event-id": "x"}):
            answer = await chatd.api.http.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "chat_not_found")
        assert chatd.daemon.services.hub.subscriber_count == 0
        assert not chatd.daemon.services.hub._topics


async def test_deleted_chat_ends_its_streams(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"poll_seconds": 0.1}) as chatd:
        chat = await chatd.api.create()
        async with background_subscriber(chatd, chat["id"]) as viewer:
            await database.fetch("DELETE FROM chats")
            await asyncio.wait_for(viewer.task, 30)
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
    async with running_daemons(dsn, [Play().provider] * 2) as replicas:
        chat = await replicas[0].api.create("long")
        async with background_subscriber(replicas[0], chat["id"]) as viewer:
            await replicas[0].stop()
            await asyncio.wait_for(viewer.task, 30)  # an end that was cut off would raise
        assert viewer.events[-1].event == "draining"
        assert viewer.events[-1].id is None
        cursor = viewer.events[-2].id
        resumed = chat_stream_events(replicas[1], chat["id"], cursor)
        told = [event.event async for event in until_status(resumed, "running")]
        assert "reset" not in told
        assert "snapshot" not in told


async def until_status(
    events: AsyncIterator[SseEvent | None], status: str
) -> AsyncIterator[SseEvent]:
    async for event in events:
        if event is not None:
            yield event
            if event.event == "status" and event.data["status"] == status:
                return
