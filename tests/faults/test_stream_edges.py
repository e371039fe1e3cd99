"""Subscribers that do not read, that vanish or are many, and transitions without notifications."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import FunctionProvider, finished, text_delta
from support.sse_client import ChatView, SseEvent
from support.streams import available_events, background_subscriber, journal_events

from chatd.domain.message import NewMessage, Role
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import FencingToken, Turns

LONG = "x" * 300_000
HTTP = {"sse_keepalive_seconds": 0.2}


async def answer_briefly(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("ok")
    yield finished()


async def answer_half_and_hang(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("I begin and ")
    await asyncio.Event().wait()


@dataclass
class RawConnection:
    """A TCP connection that reads nothing by itself."""

    plain: socket.socket

    async def rest(self) -> bytes:
        """Return everything up to the end of the connection."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while data := await loop.sock_recv(self.plain, 1 << 20):
                received += data
        return bytes(received)

    def reset(self) -> None:
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.plain.close()


@asynccontextmanager
async def raw_connection(chatd: InProcessDaemon, chat_id: str) -> AsyncIterator[RawConnection]:
    """Request a stream, and read nothing."""
    address = urlsplit(str(chatd.api.http.base_url))
    loop = asyncio.get_running_loop()
    with socket.socket() as plain:
        plain.setblocking(False)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await loop.sock_connect(plain, (address.hostname, address.port))
        head = f"GET /api/v1/chats/{chat_id}/stream HTTP/1.1\r\nhost: localhost\r\n"
        request = f"{head}connection: close\r\n\r\n"
        await loop.sock_sendall(plain, request.encode())
        yield RawConnection(plain)


def decode_chunks(response: bytes) -> tuple[bytes, bool]:
    """Return the body of a chunked response, and whether it ended properly."""
    _, _, rest = response.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return bytes(body), rest == b"\r\n"
        body += rest[:length]
        rest = rest[length + 2 :]
    return bytes(body), False


def events(body: bytes) -> list[SseEvent]:
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if fields:
            found.append(SseEvent(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def subscriptions(hub: ChatHub) -> list[Subscription]:
    return [one for topic in hub._topics.values() for one in topic.subscriptions]


async def no_topics(*daemons: InProcessDaemon) -> None:
    for chatd in daemons:
        hub = chatd.daemon.services.hub
        await eventually(lambda hub=hub: not hub._topics, describe=lambda hub=hub: f"{hub._topics}")


async def overflow(chatd: InProcessDaemon, chat_id: str, slow: Subscription) -> int:
    """Have long messages answered until the slow subscriber is disconnected. Return their number."""
    count = 0
    while not slow.disconnected:
        assert count < 60
        await chatd.api.send(chat_id, f"{count} {LONG}")
        await chatd.api.wait_for_status(chat_id, "waiting")
        count += 1
        assert len(slow._entries) <= 8
    return count


async def test_overflowed_subscriber_is_disconnected_and_resumes(dsn: str) -> None:
    """A slow client's stream ends properly with bounded pending entries. Its cursor yields the rest."""
    stream = {"subscriber_buffer": 8}
    async with running_daemon(
        dsn, FunctionProvider(answer_briefly), stream=stream, http=HTTP
    ) as chatd:
        hub = chatd.daemon.services.hub
        chat_id = (await chatd.api.create())["id"]
        async with raw_connection(chatd, chat_id) as slow:
            [place] = await eventually(lambda: subscriptions(hub))
            async with background_subscriber(chatd, chat_id) as subscriber:
                count = await overflow(chatd, chat_id, place)
                assert not place._entries
                body, ended = decode_chunks(await slow.rest())
                version = (await chatd.api.chat(chat_id))["version"]
                await eventually(lambda: (subscriber.events[-1].id or "").startswith(f"{version}."))
                assert not subscriber.task.done(), "a subscriber that reads stays raw_connection"
        assert ended
        received = events(body)
        assert received[0].event == "snapshot"
        assert received[-1].event != "draining"
        rest = await available_events(chatd, chat_id, received[-1].id)
        assert "snapshot" not in {event.event for event in rest}
        assert journal_events([*received, *rest])[1:] == journal_events(subscriber.events)[1:]
        view = ChatView()
        for event in (*received, *rest):
            view.apply(event)
        assert len(view.messages) == 2 * count
        assert [m["id"] for m in await chatd.api.messages(chat_id)] == list(view.messages)
        await no_topics(chatd)


@pytest.mark.slow
async def test_shutdown_waits_for_consumers_within_its_timeout(dsn: str) -> None:
    """A client that reads gets `draining` and a proper end. One that does not read holds up nothing."""
    async with running_daemon(dsn, FunctionProvider(answer_briefly)) as chatd:
        chat_id = (await chatd.api.create())["id"]
        async with raw_connection(chatd, chat_id) as blocked:
            [place] = await eventually(lambda: subscriptions(chatd.daemon.services.hub))
            count = 0
            while len(place._entries) < 8:  # Entries pile up once the socket buffers are full.
                assert count < 60
                await chatd.api.send(chat_id, f"{count} {LONG}")
                await chatd.api.wait_for_status(chat_id, "waiting")
                count += 1
            other = (await chatd.api.create())["id"]
            async with (
                raw_connection(chatd, other) as first,
                raw_connection(chatd, other) as second,
            ):
                await eventually(lambda: chatd.daemon.services.hub.subscriber_count == 3)
                stopping = asyncio.create_task(chatd.stop())
                for client in (first, second):
                    body, ended = decode_chunks(await client.rest())
                    assert ended
                    assert [e.event for e in events(body)] == ["snapshot", "draining"]
                await stopping
            blocked.reset()
        assert not chatd.daemon.services.hub._topics


async def test_three_hundred_subscribers_receive_the_same(dsn: str) -> None:
    async def count_to_ten(_: ModelRequest) -> AsyncIterator[Delta]:
        for number in range(10):
            yield text_delta(f"{number} ")
            await asyncio.sleep(0.01)
        yield finished()

    async with running_daemons(
        dsn, [FunctionProvider(count_to_ten)] * 2, limits={"max_requests": 0}
    ) as replicas:
        chat_id = (await replicas[0].api.create(title="Numbers"))["id"]
        views = [ChatView() for _ in range(300)]
        async with asyncio.TaskGroup() as group:
            for number, view in enumerate(views):
                api = replicas[number % 2].api
                group.create_task(
                    api.follow(
                        chat_id, view, lambda view: len(view.messages) == 2 and is_answered(view)
                    )
                )
            await eventually(lambda: all(view.status for view in views))
            assert [chatd.daemon.services.hub.subscriber_count for chatd in replicas] == [150, 150]
            await replicas[0].api.send(chat_id, "hello")
        first = journal_events(views[0].events)
        assert [kind for kind, _, _ in first] == [
            *("snapshot", "message", "status", "status", "message", "status"),
        ]
        assert first[-2][1]["content"][0]["text"].split() == [*"0123456789"]
        for view in views:
            assert journal_events(view.events) == first
        await no_topics(*replicas)


@pytest.mark.parametrize("working", [False, True], ids=["idle", "working"])
async def test_vanished_subscribers_leave_no_topics(dsn: str, working: bool) -> None:
    """Connections are reset before the response, in the middle of it, and while it is idle."""
    async with running_daemon(dsn, FunctionProvider(answer_half_and_hang)) as chatd:
        hub = chatd.daemon.services.hub
        chat_id = (await chatd.api.create("hello" if working else None))["id"]
        if working:
            await eventually(lambda: chat_id in map(str, hub._topics))

        async def vanish(number: int) -> None:
            async with raw_connection(chatd, chat_id) as client:
                if number % 3:
                    loop = asyncio.get_running_loop()
                    assert await loop.sock_recv(client.plain, 1 if number % 3 == 1 else 4096)
                client.reset()

        for _ in range(4):
            await asyncio.gather(*map(vanish, range(30)))
        await eventually(lambda: hub.subscriber_count == 0)
        if working:  # The topic stays, because the step runs here.
            assert [str(chat_id) for chat_id in hub._topics] == [chat_id]
            await chatd.api.interrupt(chat_id)
        await no_topics(chatd)


async def test_transitions_without_notifications_are_polled(dsn: str, database: Database) -> None:
    """Another process claims, streams and finishes, and sends no notification at all."""
    worker = {"enabled": False, "poll_seconds": 0.1}
    chats, turns, streams = Chats(database), Turns(database), StreamStore(database)
    async with running_daemon(dsn, worker=worker) as chatd:
        chat_id = UUID((await chatd.api.create())["id"])
        async with background_subscriber(chatd, str(chat_id)) as client:
            await chats.describe(chat_id, owner_id="local", title="quiet", labels=None)
            hello = ({"type": "text", "text": "hello"},)
            await chats.send(chat_id, owner_id="local", content=hello)
            [claim] = await claim_chats(database, 1, worker_id=uuid4())
            chat = claim.result.chat
            assert chat.worker_id is not None
            parts = [{"index": 0, "type": "text", "text": f"part {n} "} for n in range(3)]
            await streams.flush_parts([PartBatch(chat_id, chat.epoch, 1, parts[:2])])
            await eventually(lambda: client.events[-1].data == parts[1])
            await streams.flush_parts([PartBatch(chat_id, chat.epoch, 3, parts[2:])])
            await eventually(lambda: client.events[-1].data == parts[2])
            answer = NewMessage(
                role=Role.ASSISTANT,
                content=({"type": "text", "text": "part 0 part 1 part 2 "},),
                model_config_id=chat.last_model_config_id,
            )
            fence = FencingToken(chat_id, chat.worker_id, chat.epoch)
            await turns.apply(
                fence, FinishTurn(step=chat.committed_steps, messages=[answer], settled_part=3)
            )
            await eventually(lambda: client.events[-1].data == {"status": "waiting", "epoch": 1})
            assert [event.event for event in client.events] == [
                "snapshot",
                "chat",
                *("message", "status", "status"),
                *("message_part", "message_part", "message_part"),
                *("message", "status"),
            ]
            view = ChatView()
            for event in client.events:
                view.apply(event)
            assert list(view.messages.values()) == ["hello", "part 0 part 1 part 2 "]
            await database.fetch("DELETE FROM chats WHERE id = $1", chat_id)
            await asyncio.wait_for(client.task, TIMEOUT_SECONDS)
        await no_topics(chatd)


def is_answered(view: ChatView) -> bool:
    return view.status == "waiting"
