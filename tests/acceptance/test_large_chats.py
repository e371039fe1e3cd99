"""A chat of more bytes than PostgreSQL makes one value of: streamed, resumed and paged within a bound."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from support.database_inspector import inspect_database
from support.http import NO_TLS
from support.process_cost import CostMeter
from support.processes import ChatdProcess, chatd_process

from chatd.client import Client, Snapshot, Transcript

MESSAGES = 68
SIZE = 4 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024
_LINE_START = 100
"""Bytes of a line that are kept: those of an event's type or cursor."""
SETTINGS = """
[worker]
enabled = false
"""

FILL = """
WITH chat AS (
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, version)
    SELECT $1::uuid, $1::uuid, 'local', (SELECT id FROM chat_model_configs LIMIT 1), $2
    RETURNING id
), message AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT chat.id, chat_message_id(n, 1), n, CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
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
                if self.cursor and int(self.cursor.partition(".")[0]) >= until_version:
                    return

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
            await inspector.fetch_value(FILL, chat_id, MESSAGES, SIZE)
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
