"""A chat of more bytes than PostgreSQL makes one value of: streamed, resumed and paged within a bound.

Its turns are answered, and no replica that serves it fails: ``CHATD_TEST_LARGE_CHATS=1`` shows that too,
with 12 s of processor time.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from support.database_inspector import inspect_database
from support.eventually import eventually
from support.http import NO_TLS
from support.process_cost import CostMeter
from support.processes import ChatdProcess, chatd_process
from support.sse_client import ChatView, clients

from chatd.client import Client, Snapshot, Transcript

MESSAGES = 68
SIZE = 4 * 1024 * 1024
MOST_OF_ONE_VALUE = 256 * 1024 * 1024
"""Bytes at which arrays of jsonb end."""
assert MESSAGES * SIZE > MOST_OF_ONE_VALUE
MAX_BYTES = 64 * 1024 * 1024
_LINE_START = 100
"""Bytes of a line that are kept: those of an event's type or cursor."""
SETTINGS = """
[worker]
enabled = false
"""

INSERT = """
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, version)
    SELECT $1::uuid, $1::uuid, 'local', (SELECT id FROM chat_model_configs LIMIT 1), $2::integer
    RETURNING id, 0 AS before
"""
GROW = """
    UPDATE chats SET version = version + $2::integer, updated_at = clock_timestamp()
    WHERE id = $1::uuid RETURNING id, version - $2::integer AS before
"""
FILL = """
WITH chat AS (%s), message AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT chat.id, chat_message_id(before + n, 1), before + n,
           CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
           jsonb_build_array(jsonb_build_object('type', 'text', 'text', repeat('x', $3::integer)))
    FROM chat, generate_series(1, $2::integer) n
    RETURNING chat_id, id, version
)
INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
SELECT chat_id, version, 'send', 'waiting', 0,
       jsonb_build_object('messages', jsonb_build_array(id), 'queue_length', 0)
FROM message
"""


@dataclass
class Received:
    """What came over a connection: events by type, with their last cursor, and the number of bytes."""

    events: list[str] = field(default_factory=list)
    cursor: str = ""
    byte_count: int = 0

    async def read(self, url: str, until_version: int) -> None:
        """Read a stream, without holding it, until the cursor has reached this version."""
        async with (
            httpx2.AsyncClient(verify=NO_TLS, timeout=60) as client,
            client.stream("GET", url) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            line = b""
            async for chunk in answer.aiter_raw():
                self.byte_count += len(chunk)
                first, *others = chunk.split(b"\n")
                line = (line + first)[:_LINE_START]
                for following in others:
                    self._note(line)
                    line = following[:_LINE_START]
                if self._has_reached(until_version):
                    return

    async def follow(self, url: str, until_version: int) -> None:
        """Read a stream, and resume it when it ends, until the cursor has reached this version."""
        await self.read(url, until_version)
        while not self._has_reached(until_version):
            await self.read(f"{url.partition('?')[0]}?after={self.cursor}", until_version)

    def _has_reached(self, version: int) -> bool:
        return bool(self.cursor) and int(self.cursor.partition(".")[0]) >= version

    def _note(self, line: bytes) -> None:
        if line.startswith(b"event: "):
            self.events.append(line.removeprefix(b"event: ").decode())
        if line.startswith(b"id: "):
            self.cursor = line.removeprefix(b"id: ").decode()


@contextmanager
def bounded_cost(process: ChatdProcess) -> Iterator[None]:
    meter = CostMeter(process)
    meter.start()
    yield
    cost = meter.stop()
    assert cost.peak_bytes < MAX_BYTES, cost


@pytest.fixture
async def large_chat(dsn: str, tmp_path: Path) -> Any:
    with chatd_process(tmp_path, dsn, settings=SETTINGS) as process:
        await process.wait_until_ready()
        chat_id: UUID = uuid4()
        async with inspect_database(dsn) as inspector:
            await inspector.fetch_value(FILL % INSERT, chat_id, MESSAGES, SIZE)
        yield process, str(chat_id)


@pytest.mark.slow
async def test_large_chat_is_streamed_resumed_and_paged(
    large_chat: tuple[ChatdProcess, str],
) -> None:
    process, chat_id = large_chat
    url = f"{process.url}/api/v1/chats/{chat_id}"
    await Received().read(f"{url}/stream", MESSAGES)  # what the first request loads stays
    with bounded_cost(process):
        snapshot = Received()
        await snapshot.read(f"{url}/stream", MESSAGES)
        assert snapshot.events == ["snapshot"]
        assert SIZE < snapshot.byte_count < 2 * SIZE
    with bounded_cost(process):
        resumed = Received()
        await resumed.read(f"{url}/stream?after=1.0.0", MESSAGES)
        assert resumed.events.count("message") == MESSAGES - 1
        assert resumed.byte_count > (MESSAGES - 1) * SIZE
    with bounded_cost(process):
        async with Client(process.url) as client:
            transcript = Transcript()
            async with client.follow(chat_id) as events:
                first = await anext(events)
            assert isinstance(first, Snapshot)
            transcript.apply(first)
            assert len(transcript.messages) == 1
            assert transcript.older_cursor is not None
            older = client.messages.list_older(chat_id, transcript.older_cursor, page_size=200)
            roles = [message["role"] async for message in older]
    assert roles == ["user", "assistant"] * (MESSAGES // 2 - 1) + ["user"]
    assert not process.logged("http.unexpected")
    assert not process.logged("loop.blocked")


REPLICA = """
[worker]
enabled = {worker}
poll_seconds = 0.2
"""


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("CHATD_TEST_LARGE_CHATS") != "1", reason="CHATD_TEST_LARGE_CHATS is not 1"
)
async def test_replicas_outlive_a_chat_that_grows_and_answer_it(dsn: str, tmp_path: Path) -> None:
    """One replica runs its turn. Another one polls it for a subscriber, who gets everything."""
    with (
        chatd_process(tmp_path, dsn, name="a", settings=REPLICA.format(worker="true")) as worker,
        chatd_process(tmp_path, dsn, name="b", settings=REPLICA.format(worker="false")) as other,
    ):
        for process in (worker, other):
            await process.wait_until_ready()
        async with clients([worker, other]) as apis, inspect_database(dsn) as inspector:
            api = apis["b"]
            chat_id, neighbour = [(await api.create())["id"] for _ in range(2)]
            url = f"{other.url}/api/v1/chats/{chat_id}"
            view, seen = ChatView(), Received()
            following = asyncio.create_task(
                api.follow(neighbour, view, lambda view: len(view.messages) == 2)
            )
            growing = asyncio.create_task(seen.follow(f"{url}/stream", MESSAGES + 1))
            await eventually(lambda: view.status and seen.events)
            await inspector.fetch_value(FILL % GROW, UUID(chat_id), MESSAGES, SIZE)
            await growing
            assert seen.events.count("message") == MESSAGES

            meter = CostMeter(worker)
            meter.start()
            await api.send(chat_id, "hello")
            await api.send(neighbour, "and me?")
            await following
            chat = await api.wait_for_status(chat_id, "waiting")
            peak = meter.stop().peak_bytes
            assert chat["last_error"] is None
            assert (await inspector.transitions(chat_id))[-3:] == ["send", "claim", "finish_turn"]
            await seen.follow(f"{url}/stream?after={seen.cursor}", chat["version"])
            assert seen.events.count("message") == MESSAGES + 2
        for process in (worker, other):
            for event in ("supervisor.child_failed", "containment.cut", "http.unexpected"):
                assert not process.logged(event)
        sys.stdout.write(f"a turn over {MESSAGES} messages of {SIZE} bytes: {peak / 1e6:.0f} MB\n")
