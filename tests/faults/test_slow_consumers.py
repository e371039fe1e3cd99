"""Slow consumers and simultaneous callers: memory stays bounded, and nobody else waits."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, scripted, text_delta
from support.sse_client import ChatView, SseEvent
from support.streams import (
    LARGE_LABELS,
    available_events,
    non_reading_client,
    read_to_end,
    stream_path,
)

from chatd.fanout.topic import Subscription
from chatd.llm.provider import Delta, ModelRequest

BUFFER = 20


def events_of(response: bytes) -> list[SseEvent]:
    """Return the events of a chunked response."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    text = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        text += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    events = []
    for block in text.decode().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            events.append(SseEvent(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return events


def subscriptions_of(chatd: InProcessDaemon, chat_id: str) -> set[Subscription]:
    topics = chatd.daemon.services.hub._topics.values()
    return next((t.subscriptions for t in topics if str(t.chat_id) == chat_id), set())


async def test_slow_consumer_is_disconnected_and_resumes(dsn: str) -> None:
    """Pending entries of a slow client are bounded. What it read and what it resumes is complete."""
    http = {"sse_keepalive_seconds": 0.1}
    stream = {"subscriber_buffer": BUFFER}
    async with running_daemon(dsn, http=http, stream=stream, worker={"enabled": False}) as chatd:
        chat = await chatd.api.create()
        async with non_reading_client(chatd, stream_path(chat["id"])) as connection:
            [subscription] = await eventually(lambda: subscriptions_of(chatd, chat["id"]))
            await eventually(lambda: subscription.topic.delivered)  # the snapshot was read
            number = 0
            while not subscription.disconnected:
                number += 1
                response = await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}",
                    json={"title": str(number), "labels": LARGE_LABELS},
                )
                assert response.status_code == 200
                assert len(subscription._entries) <= BUFFER
                assert number < 500, "it should have been disconnected by now"
            for _ in range(3 * BUFFER):  # It stays bounded while nobody reads.
                number += 1
                await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}", json={"title": str(number)}
                )
                assert len(subscription._entries) <= BUFFER
            read = events_of(await read_to_end(connection))
        assert read[0].event == "snapshot"
        assert len(read) < number
        rest = await available_events(chatd, chat["id"], read[-1].id)
        titles = [e.data["title"] for e in read[1:] + rest]
        assert titles == [str(n) for n in range(1, number + 1)]
        await eventually(lambda: not subscriptions_of(chatd, chat["id"]))


@pytest.mark.slow
async def test_slow_consumers_delay_nobody_and_cost_little(dsn: str) -> None:
    """Thirty clients that do not read a long answer share its parts, and hold a position each."""
    go = asyncio.Event()
    word = "x" * 10_000

    async def stream_long_answer(_: ModelRequest) -> AsyncIterator[Delta]:
        await go.wait()
        for _ in range(500):
            yield text_delta(word)
            await asyncio.sleep(0)
        yield finished()

    async with running_daemon(dsn, FunctionProvider(stream_long_answer)) as chatd:
        chat = await chatd.api.create("go")
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()

            async def hold_stream() -> None:
                async with non_reading_client(chatd, stream_path(chat["id"])):
                    await release.wait()

            for _ in range(30):
                group.create_task(hold_stream())
            await eventually(lambda: len(subscriptions_of(chatd, chat["id"])) == 30)
            tracemalloc.start()
            go.set()
            view = await chatd.api.follow(
                chat["id"],
                ChatView(),
                lambda view: view.status == "waiting" and len(view.messages) == 2,
            )
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert len(list(view.messages.values())[-1]) == 5_000_000
            assert peak < 100_000_000, peak  # Thirty copies would take at least 150 MB.
            release.set()
        await eventually(lambda: not subscriptions_of(chatd, chat["id"]))


@pytest.mark.slow
async def test_shutdown_does_not_wait_for_slow_consumers(dsn: str) -> None:
    """Their connections are cut when the server's shutdown timeout is over."""
    async with running_daemon(
        dsn, http={"sse_keepalive_seconds": 0.05}, worker={"enabled": False}
    ) as chatd:
        chat = await chatd.api.create()
        async with non_reading_client(chatd, stream_path(chat["id"])):
            await eventually(lambda: subscriptions_of(chatd, chat["id"]))
            for number in range(240):
                response = await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}",
                    json={"title": str(number), "labels": LARGE_LABELS},
                )
                assert response.status_code == 200
            await chatd.stop()


async def test_fifty_callers_share_a_pool_of_two(dsn: str) -> None:
    """All chats are created and answered, and all streams are served."""
    async with running_daemon(dsn, scripted(), database={"pool_size": 2}) as chatd:
        chats = await asyncio.gather(*(chatd.api.create(f"number {n}") for n in range(50)))
        assert len({chat["id"] for chat in chats}) == 50

        async def follow_answer(number: int, chat_id: str) -> None:
            view = await chatd.api.follow(
                chat_id,
                ChatView(),
                lambda view: view.status == "waiting" and len(view.messages) == 2,
            )
            assert list(view.messages.values())[-1] == f"You said: number {number}"

        async with asyncio.TaskGroup() as group:
            for number, chat in enumerate(chats):
                group.create_task(follow_answer(number, chat["id"]))
        assert not chatd.logged("http.database_unavailable")
