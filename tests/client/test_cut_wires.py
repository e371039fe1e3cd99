"""The wire is cut after any number of bytes; what the client puts together is what is stored."""

import random
from typing import Any

import anyio
import pytest
from front import front
from inside import one, scripted
from running import FACT_SECONDS

from chatd.client import Client, Snapshot, Transcript, Unreachable

SEED = random.randrange(10**6)

SPEECH = [
    {"error": {"status": 503}, "attempts": [1], "turns": [2]},
    {"text": "One two three: {message}. ", "chunks": 9, "delay_seconds": 0.02},
    {"reasoning": "Hm.", "chunks": 2, "delay_seconds": 0.01},
    {"text": "Four, five.", "chunks": 5, "delay_seconds": 0.02},
]
FAILING = [{"text": "I begin", "chunks": 2}, {"error": {"status": 401}}]


async def test_any_cut_of_the_wire_loses_and_doubles_nothing(dsn: str) -> None:
    dice = random.Random(SEED)
    cuts = 0

    def lets_through() -> int | None:
        """Most connections of streams are cut, also within the snapshot and within events."""
        nonlocal cuts
        cuts += 1
        return dice.choice([0, 120, 1500, dice.randint(0, 4000), 6000, 20_000])

    async def see(chat_id: str) -> tuple[Transcript, list[str]]:
        transcript, ids = Transcript(), []
        async with client.follow(chat_id) as events:
            async for event in events:
                if isinstance(event, Snapshot):
                    ids = []
                transcript.apply(event)
                ids.extend([event.id] if event.id else [])
                if transcript.gone or (transcript.at_rest and rests(transcript)):
                    break
        return transcript, ids

    def rests(transcript: Transcript) -> bool:
        said = [m for m in transcript.messages if m["role"] == "user"]
        return len(said) == 3 and transcript.queue_length == 0

    async with (
        one(dsn, scripted(SPEECH, failing=FAILING)) as chatd,
        front(port_of(chatd), lets_through=lets_through) as address,
        Client(str(chatd.api.http.base_url)) as straight,
        Client(address.url) as client,
    ):
        found: dict[str, tuple[Transcript, list[str]]] = {}

        async def converse(number: int) -> None:
            chat = await straight.chats.create(f"{number}-0")

            async def follow() -> None:
                found[chat["id"]] = await see(chat["id"])

            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                await straight.messages.send(chat["id"], f"{number}-1")
                busy: Any = dice.choice(["queue", "interrupt"])
                await straight.messages.send(
                    chat["id"], dice.choice([f"{number}-2", "[[failing]]"]), busy=busy
                )
                await straight.chats.change(chat["id"], title=f"number {number}")

        with anyio.fail_after(2 * FACT_SECONDS):
            async with anyio.create_task_group() as group:
                for number in range(12):
                    group.start_soon(converse, number)
        assert cuts > 12
        for chat_id, (transcript, ids) in found.items():
            assert len(ids) == len(set(ids)), SEED
            assert transcript.messages == [m async for m in straight.messages.list(chat_id)], SEED
            chat = await straight.chats.get(chat_id)
            for key in ("status", "last_error", "title", "labels", "queue_length", "archived"):
                assert transcript.chat[key] == chat[key], (SEED, key)  # type: ignore[index,literal-required]
            assert transcript.preview == []


def port_of(chatd: Any) -> int:
    return int(chatd.daemon.server.port)


async def test_patience_ends_when_it_is_bounded(dsn: str) -> None:
    async with one(dsn) as chatd, front(1) as address:
        del chatd
        async with Client(address.url, patience_seconds=0.3) as client:
            with anyio.fail_after(FACT_SECONDS):
                with pytest.raises(Unreachable, match=address.url):
                    await client.chats.create("hello")
                tried = address.connections
                assert tried > 1
                with pytest.raises(Unreachable, match=address.url):
                    await anext(client.follow("any", patience_seconds=0.3))
                assert address.connections > tried + 1
