"""Processes that are killed, or stopped past their lease, while tools run: what may run once runs once.

``CHATD_TEST_TOOL_KILLS`` and ``CHATD_TEST_TOOL_STOPS`` make the tests longer.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from support.captured_requests import CapturingProvider
from support.database_inspector import inspect_database
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process
from support.request_rules import DIALECTS, violations
from support.sse_client import clients
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint

from chatd.store.database import Database
from chatd.store.turns import Turns

KILLS = int(os.environ.get("CHATD_TEST_TOOL_KILLS", "4"))
STOPS = int(os.environ.get("CHATD_TEST_TOOL_STOPS", "3"))
STOPPED_AT_ONCE = 3
CHATS = 3
"""Chats whose turns run while a process is killed or stopped."""
TURN_SECONDS = 0.8
"""Time after the start of the turns within which their process is killed or stopped."""

TOOLS = ("append", "look", "pay")
CALLS = "".join(
    f"""
[[providers.fake.script]]
tool_call = {{ name = "{tool}", id = "{tool} {{call}} {{index}}" }}
calls = [1, 2, 3]
"""
    for tool in TOOLS
)
SCRIPTS = f"""
[providers.fake]
kind = "scripted"
{CALLS}
[[providers.fake.script]]
text = "Done."
calls = [4]

[models.fake]
provider = "fake"
model = "fake-1"
"""
SETTINGS = """
[worker]
max_recoveries = 1000
heartbeat_seconds = 0.5
lease_seconds = 3
[database]
connect_timeout_seconds = 1
statement_timeout_seconds = 2

[http_tools.append]
description = "Append a line."
url = "{url}/append"

[http_tools.pay]
description = "Pay."
url = "{url}/pay"

[http_tools.look]
description = "Look."
url = "{url}/look"
policy = "idempotent"
"""


class Workers:
    """Processes whose tools append each start to a file, and the chats that were made."""

    def __init__(self, folder: Path, dsn: str, url: str, stack: AsyncExitStack) -> None:
        self.dsn = dsn
        self.chats: list[str] = []
        self._folder = folder
        self._settings = SETTINGS.replace("{url}", url)
        self._stack = stack

    async def start(self, name: str) -> ChatdProcess:
        process = chatd_process(
            self._folder, self.dsn, name=name, settings=self._settings, scripts=SCRIPTS
        )
        worker = self._stack.enter_context(process)
        await worker.wait_until_ready()
        return worker

    async def create_chats(self, worker: ChatdProcess) -> None:
        """Start turns, which the worker claims, and wait until any moment of them."""
        async with clients([worker]) as apis:
            self.chats += [(await apis[worker.name].create("go"))["id"] for _ in range(CHATS)]
        await asyncio.sleep(random.random() * TURN_SECONDS)

    async def wait_for_answers(self, worker: ChatdProcess) -> None:
        """Wait until all turns have ended, and check that each call has one result, in its place."""
        async with clients([worker]) as apis:
            for chat_id in self.chats:
                await apis[worker.name].wait_for_status(chat_id, "waiting", 60)
                messages = await apis[worker.name].messages(chat_id)
                roles = [message["role"] for message in messages]
                assert roles == ["user", *["assistant", "tool"] * 3, "assistant"]
                for calls, answers in pairwise(messages[1:-1]):
                    if calls["role"] == "assistant":
                        ids = [[p["tool_call_id"] for p in m["content"]] for m in (calls, answers)]
                        assert ids[0] == ids[1]


async def check_dialects(database: Database, chats: Sequence[str]) -> None:
    """Check that the APIs of the providers take the histories as they are stored."""
    histories = [(await Turns(database).history(UUID(chat_id))).messages for chat_id in chats]
    for kind in ("openai", "anthropic"):
        provider = CapturingProvider(kind, name="p")
        for messages in histories:
            assert violations(await provider.body(messages), DIALECTS[kind]) == []
        await provider.aclose()


@asynccontextmanager
async def checked_workers(
    folder: Path, dsn: str, database: Database, fault: str
) -> AsyncIterator[Workers]:
    """Run processes with tools. When all turns have ended, compare the file of effects with the ledger."""
    log = folder / "effects"

    async def append(request: ToolCallRequest) -> bytes:
        with log.open("a") as file:
            file.write(f"{request.target} {request.key}\n")
        await asyncio.sleep(random.random() * 0.3)
        return response("ok")

    async with AsyncExitStack() as stack, tool_endpoint(append) as endpoint:
        workers = Workers(folder, dsn, endpoint.url, stack)
        survivor = await workers.start("survivor")
        yield workers
        await workers.wait_for_answers(survivor)
        await check_dialects(database, workers.chats)
    effects = Counter(log.read_text().splitlines())
    once = [count for effect, count in effects.items() if not effect.startswith("/look ")]
    assert set(once) == {1}, "a tool that may run once ran twice"
    assert max(effects.values()) <= 3
    async with inspect_database(dsn) as db:
        rows = await db.fetch_all(
            "SELECT state, tries, answer->>'result' AS result FROM chat_tool_calls"
        )
    assert {row["state"] for row in rows} == {"closed"}
    assert len(rows) == len(workers.chats) * 3 * len(TOOLS)
    unknown = sum("not run again" in row["result"] for row in rows)
    again = sum(row["tries"] > 1 for row in rows)
    sys.stderr.write(
        f"{fault}, effects: {effects.total()}, unknown: {unknown}, again: {again},"
        f" twice at the tool: {sum(count > 1 for count in effects.values())}\n"
    )


async def test_tool_that_runs_at_most_once_never_runs_twice(
    tmp_path: Path, dsn: str, database: Database
) -> None:
    """Each process is killed at a random moment of a turn with parallel calls, and replaced."""
    async with checked_workers(tmp_path, dsn, database, f"kills: {KILLS}") as workers:
        for n in range(KILLS):
            victim = await workers.start(f"victim{n}")
            await workers.create_chats(victim)
            victim.kill()


async def stop_past_the_lease(workers: Workers, victim: ChatdProcess, stops: int) -> None:
    """Stop a process ``stops`` times while it has a chat, each time until others have taken its chats."""
    query = "SELECT count(*) FROM chats WHERE worker_id = $1"
    async with inspect_database(workers.dsn) as db:
        while stops:
            await workers.create_chats(victim)
            victim.send_signal(signal.SIGSTOP)
            if await db.fetch_value(query, victim.worker_id):
                stops -= 1
                await eventually(
                    lambda: db.fetch_all(f"{query} HAVING count(*) = 0", victim.worker_id)
                )
                await asyncio.sleep(random.random() * TURN_SECONDS)
            victim.send_signal(signal.SIGCONT)


async def test_stopped_process_starts_no_tool_twice(
    tmp_path: Path, dsn: str, database: Database
) -> None:
    """Processes are stopped at random moments until their leases are over, and then go on."""
    async with (
        checked_workers(tmp_path, dsn, database, f"stops: {STOPS}") as workers,
        asyncio.TaskGroup() as g,
    ):
        for n in range(min(STOPS, STOPPED_AT_ONCE)):
            victim = await workers.start(f"victim{n}")
            stops = len(range(n, STOPS, STOPPED_AT_ONCE))
            g.create_task(stop_past_the_lease(workers, victim, stops))
