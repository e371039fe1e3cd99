"""Processes that are killed while they compact chats: each history is whole, and has one summary.

``CHATD_TEST_COMPACTION_KILLS`` makes the test longer.
"""

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

from support.processes import ChatdProcess, chatd_process
from support.sse_client import clients

from chatd.domain.message import Message
from chatd.store.database import Database
from chatd.store.turns import Turns

KILLS = int(os.environ.get("CHATD_TEST_COMPACTION_KILLS", "3"))
CHATS = 3
"""Chats that are compacted while a process is killed."""
TURN_SECONDS = 0.6
"""Time after the requests within which the process is killed. A summary takes half of it."""
MESSAGES = 40

SCRIPTS = """
[providers.fake]
kind = "scripted"

[[providers.fake.script]]
text = "You said: {message}"

[[providers.fake.scripts.summary]]
text = "A summary in a few words."
chunks = 3
delay_seconds = 0.1

[models.fake]
provider = "fake"
model = "fake-1"
context_limit = 4000
"""
SETTINGS = """
[worker]
max_recoveries = 1000
heartbeat_seconds = 0.5
lease_seconds = 3
history_cache_bytes = 0
[database]
connect_timeout_seconds = 1
statement_timeout_seconds = 2
"""
FILL = """
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT $1, chat_message_id(1, n + 1), 1, CASE WHEN n % 2 = 1 THEN 'user' ELSE 'assistant' END,
       jsonb_build_array(jsonb_build_object('type', 'text', 'text', n || repeat(' word', 60)))
FROM generate_series(1, $2::integer) n
"""


class CompactingWorkers:
    """Processes that compact chats, and the chats."""

    def __init__(self, folder: Path, dsn: str, database: Database, stack: AsyncExitStack) -> None:
        self.chats: list[str] = []
        self._folder, self._dsn, self._database, self._stack = folder, dsn, database, stack

    async def start(self, name: str) -> ChatdProcess:
        process = chatd_process(
            self._folder, self._dsn, name=name, settings=SETTINGS, scripts=SCRIPTS
        )
        worker = self._stack.enter_context(process)
        await worker.wait_until_ready()
        return worker

    async def compact_chats(self, worker: ChatdProcess) -> None:
        """Ask for compactions of long chats, and wait until any moment of them."""
        async with clients([worker]) as apis:
            api = apis[worker.name]
            chats = [(await api.create())["id"] for _ in range(CHATS)]
            for chat_id in chats:
                await self._database.fetch(FILL, UUID(chat_id), MESSAGES)
            self.chats += chats
            for chat_id in chats:
                answer = await api.http.post(f"/api/v1/chats/{chat_id}/compact", json={})
                assert answer.status_code == 202, answer.text
        await asyncio.sleep(random.random() * TURN_SECONDS)

    async def check(self, worker: ChatdProcess) -> int:
        """Wait until all chats are compacted, and check them. Return how often one was taken over."""
        lost = 0
        async with clients([worker]) as apis:
            api = apis[worker.name]
            for chat_id in self.chats:
                await api.wait_for_status(chat_id, "waiting", 60)
                shown = await api.messages(chat_id)
                texts = [message["content"][0].get("text", "").split()[:1] for message in shown]
                assert texts == [*([str(n)] for n in range(1, MESSAGES + 1)), []], "one notice"
                assert [part["type"] for part in shown[-1]["content"]] == ["compaction"]
                check_history((await Turns(self._database).history(UUID(chat_id))).messages)
                entries = (await api.http.get(f"/api/v1/chats/{chat_id}/events")).json()["items"]
                transitions = [entry["transition"] for entry in entries]
                assert transitions.count("compact") == 1
                lost += transitions.count("reap")
        return lost


def check_history(history: Sequence[Message]) -> None:
    """Check that the model is shown one summary, and every message that it does not cover."""
    summary, *rest = history
    assert summary.covers_until is not None
    assert [message.covers_until for message in rest] == [None] * len(rest)
    covered = summary.covers_until - 1_000_001
    assert covered > 0
    numbers = [int(message.content[0]["text"].split()[0]) for message in rest]
    assert numbers == list(range(covered + 1, MESSAGES + 1))


async def test_compaction_is_whole_or_not_there(
    tmp_path: Path, dsn: str, database: Database
) -> None:
    """Each process is killed at a random moment of compactions, which the next ones take over."""
    async with AsyncExitStack() as stack:
        workers = CompactingWorkers(tmp_path, dsn, database, stack)
        for n in range(KILLS):
            victim = await workers.start(f"victim{n}")
            await workers.compact_chats(victim)
            victim.kill()
        lost = await workers.check(await workers.start("survivor"))
        rows = await database.fetch(
            "SELECT chat_id FROM chat_messages WHERE covers_until IS NOT NULL"
        )
    assert sorted(str(row["chat_id"]) for row in rows) == sorted(workers.chats)
    sys.stderr.write(f"kills: {KILLS}, compactions: {len(workers.chats)}, taken over: {lost}\n")
