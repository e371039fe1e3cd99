"""Viewers who do not read, and callers who come all at once: bounded, and nobody else waits."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator

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


def events_of(answer: bytes) -> list[SseEvent]:
    """What an answer in chunks says."""
    head, _, body = answer.partition(b"\r\n\r\n")
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


def viewers(chatd: InProcessDaemon, chat_id: str) -> set[Subscription]:
    topics = chatd.daemon.services.hub._topics.values()
    return next((t.subscriptions for t in topics if str(t.chat_id) == chat_id), set())


async def test_slow_consumer_is_disconnected_and_resumes(dsn: str) -> None:
    """Its rows wait up to a bound, then no more; what it read and what it resumes is everything."""
    http = {"sse_keepalive_seconds": 0.1}
    stream = {"subscriber_buffer": BUFFER}
    async with running_daemon(dsn, http=http, stream=stream, worker={"enabled": False}) as chatd:
        chat = await chatd.api.create()
        async with non_reading_client(chatd, stream_path(chat["id"])) as wire:
            [subscription] = await eventually(lambda: viewers(chatd, chat["id"]))
            number = 0
            while not subscription.disconnected:
                number += 1
                answer = await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}",
                    json={"title": str(number), "labels": LARGE_LABELS},
                )
                assert answer.status_code == 200
                assert len(subscription._entries) <= BUFFER
                assert number < 500, "it should have been cut off by now"
            for _ in range(3 * BUFFER):  # and it stays bounded while nobody reads
                number += 1
                await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}", json={"title": str(number)}
                )
                assert len(subscription._entries) <= BUFFER
            read = events_of(await read_to_end(wire))
        assert read[0].event == "snapshot"
        assert len(read) < number
        rest = await available_events(chatd, chat["id"], read[-1].id)
        titles = [e.data["title"] for e in read[1:] + rest]
        assert titles == [str(n) for n in range(1, number + 1)]
        await eventually(lambda: not viewers(chatd, chat["id"]))


async def test_slow_consumers_delay_nobody_and_cost_little(dsn: str) -> None:
    """Thirty deaf viewers of a long answer share its parts: they cost a position each, not a copy."""
    go = asyncio.Event()
    piece = "x" * 10_000

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await go.wait()
        for _ in range(500):
            yield text_delta(piece)
            await asyncio.sleep(0)
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create("go")
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()

            async def sit() -> None:
                async with non_reading_client(chatd, stream_path(chat["id"])):
                    await release.wait()

            for _ in range(30):
                group.create_task(sit())
            await eventually(lambda: len(viewers(chatd, chat["id"])) == 30)
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
            assert peak < 100_000_000, peak  # a copy for each would be 150 MB at the least
            release.set()
        await eventually(lambda: not viewers(chatd, chat["id"]))


async def test_shutdown_does_not_wait_for_slow_consumers(dsn: str) -> None:
    """Its connection is cut when the allowance of the server is up; everybody else ends well."""
    async with running_daemon(
        dsn, http={"sse_keepalive_seconds": 0.05}, worker={"enabled": False}
    ) as chatd:
        chat = await chatd.api.create()
        async with non_reading_client(chatd, stream_path(chat["id"])):
            await eventually(lambda: viewers(chatd, chat["id"]))
            for number in range(60):
                await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}",
                    json={"title": str(number), "labels": LARGE_LABELS},
                )
            await chatd.stop()


async def test_fifty_callers_share_a_pool_of_two(dsn: str) -> None:
    """Requirement 10: nobody is refused, nobody is forgotten, whoever streams meanwhile is served."""
    async with running_daemon(dsn, scripted(), database={"pool_size": 2}) as chatd:
        chats = await asyncio.gather(*(chatd.api.create(f"number {n}") for n in range(50)))
        assert len({chat["id"] for chat in chats}) == 50

        async def answered(number: int, chat_id: str) -> None:
            view = await chatd.api.follow(
                chat_id,
                ChatView(),
                lambda view: view.status == "waiting" and len(view.messages) == 2,
            )
            assert list(view.messages.values())[-1] == f"You said: number {number}"

        async with asyncio.TaskGroup() as group:
            for number, chat in enumerate(chats):
                group.create_task(answered(number, chat["id"]))
        assert not chatd.logged("http.database_unavailable")
