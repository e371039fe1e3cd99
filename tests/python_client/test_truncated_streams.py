"""Streams truncated after any number of bytes: the client's transcript equals the stored chat."""

import random
from collections.abc import Iterator

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.in_process import InProcessDaemon, running_daemon
from support.load_balancer import load_balancer
from support.providers import scripted

from chatd.client import Client, ConnectFailed, Snapshot, Transcript
from chatd.client.types import BusyBehavior

SEED = random.randrange(10**6)

CHATS = 12
SPEECH = [
    {"error": {"status": 503}, "attempts": [1], "turns": [2]},
    {"text": "One two three: {message}. ", "chunks": 9, "delay_seconds": 0.02},
    {"reasoning": "Hm.", "chunks": 2, "delay_seconds": 0.01},
    {"text": "Four, five.", "chunks": 5, "delay_seconds": 0.02},
]
FAILING = [{"text": "I begin", "chunks": 2}, {"error": {"status": 401}}]


def rests(transcript: Transcript) -> bool:
    """Return whether the effects of ``converse`` are all received."""
    user_messages = [message for message in transcript.messages if message["role"] == "user"]
    answered = transcript.status == "waiting" and len(user_messages) == 3
    described = transcript.chat is not None and transcript.chat["title"] != ""
    return described and (answered or transcript.status == "error")


async def see(client: Client, chat_id: str) -> Transcript:
    """Follow a chat to its end. No event is delivered twice."""
    transcript, ids = Transcript(), []
    async with client.follow(chat_id) as events:
        async for event in events:
            assert event.id is not None
            ids = [event.id] if isinstance(event, Snapshot) else [*ids, event.id]
            transcript.apply(event)
            if rests(transcript):
                break
    assert len(ids) == len(set(ids)), SEED
    return transcript


async def converse(client: Client, chat_id: str, rng: random.Random) -> None:
    """Send two messages, one of which may fail, and set a title."""
    await client.messages.send(chat_id, "two")
    busy: BusyBehavior = rng.choice(["queue", "interrupt"])
    await client.messages.send(chat_id, rng.choice(["three", "[[failing]]"]), busy_behavior=busy)
    await client.chats.update(chat_id, title="a title")


def port_of(chatd: InProcessDaemon) -> int:
    assert chatd.daemon.server is not None
    return chatd.daemon.server.port


@pytest.mark.slow
async def test_random_truncation_loses_and_repeats_nothing(dsn: str) -> None:
    rng = random.Random(SEED)

    def byte_limits() -> Iterator[int]:
        """Yield limits that truncate a head, and then those that may truncate a snapshot or an event."""
        for _ in range(2 * CHATS):
            yield rng.choice([0, 120, rng.randint(0, 300)])
        while True:
            yield rng.choice([0, 120, 1500, rng.randint(0, 4000), 4000, 8000])

    limits = byte_limits()

    async with (
        running_daemon(dsn, scripted(SPEECH, failing=FAILING)) as chatd,
        load_balancer(port_of(chatd), response_byte_limit=lambda: next(limits)) as address,
        Client(str(chatd.api.http.base_url)) as straight,
        Client(address.url) as client,
    ):
        found: dict[str, Transcript] = {}

        async def follow(chat_id: str) -> None:
            found[chat_id] = await see(client, chat_id)

        with anyio.fail_after(2 * TIMEOUT_SECONDS):
            async with anyio.create_task_group() as group:
                for _ in range(CHATS):
                    chat = await straight.chats.create("one")
                    group.start_soon(follow, chat["id"])
                    group.start_soon(converse, straight, chat["id"], rng)
        assert address.connections > 2 * CHATS
        for chat_id, transcript in found.items():
            assert transcript.messages == [m async for m in straight.messages.list(chat_id)], SEED
            assert transcript.preview == []
            stored = await straight.chats.get(chat_id)
            later = {"version": 0, "updated_at": "", "usage": None, "stored_bytes": 0}
            assert {**(transcript.chat or {}), **later} == {**stored, **later}, SEED


async def test_retry_timeout_raises_connect_failed(dsn: str) -> None:
    async with running_daemon(dsn) as chatd, load_balancer(1) as address:
        del chatd
        async with Client(address.url, retry_timeout_seconds=0.3) as client:
            with anyio.fail_after(TIMEOUT_SECONDS):
                with pytest.raises(ConnectFailed, match=address.url):
                    await client.chats.create("hello")
                tried = address.connections
                assert tried > 1
                with pytest.raises(ConnectFailed, match=address.url):
                    await anext(client.follow("any", retry_timeout_seconds=0.3))
                assert address.connections > tried + 1
