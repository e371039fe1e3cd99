"""Families of chats on real processes: workers that die, one slot for all, and an interrupt.

``CHATD_TEST_FAMILY_KILLS`` and ``CHATD_TEST_FAMILY_PARENTS`` make the tests longer.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from support.commands import run_command
from support.database_inspector import DatabaseInspector, inspect_database
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process
from support.sse_client import ApiClient, clients, text_of
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint

KILLS = int(os.environ.get("CHATD_TEST_FAMILY_KILLS", "2"))
PARENTS = int(os.environ.get("CHATD_TEST_FAMILY_PARENTS", "8"))
CHILDREN = 5
FAMILY_SECONDS = 1.5
"""Time after the start of the families within which their process is killed."""
STOP_SECONDS = 2.0
"""Time within which an interrupt of a parent stops each chat of its family."""


def spawning(marker: str, prompt: str, count: int) -> str:
    """Return a script that starts agents, waits for them, and says what they said."""
    calls = "".join(
        f"""
[[providers.fake.scripts.{marker}]]
tool_call = {{ name = "spawn_agent", id = "s{n}", args = {{ prompt = "{prompt} {n}", name = "{n}" }} }}
calls = [1]
"""
        for n in range(count)
    )
    ids = ", ".join(f'"{{result:s{n}:id}}"' for n in range(count))
    answers = " ".join(f"{{result:w:agents.{n}.answer}}" for n in range(count))
    return f"""{calls}
[[providers.fake.scripts.{marker}]]
tool_call = {{ name = "wait_agent", id = "w", args = {{ ids = [{ids}] }} }}
calls = [2]

[[providers.fake.scripts.{marker}]]
text = "{answers}"
calls = [3]
"""


SCRIPTS = f"""
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "I did {{message}}."
chunks = 3
delay_seconds = 0.03
{spawning("parent", "part", CHILDREN)}
{spawning("grandparent", "[[parent]] group", CHILDREN)}
{spawning("stoppable", "[[busy]]", CHILDREN)}
{spawning("crowd", "[[couple]]", PARENTS)}
{spawning("couple", "[[slow]]", 1)}
[[providers.fake.scripts.slow]]
wait_seconds = 1
[[providers.fake.scripts.slow]]
text = "At last."
[[providers.fake.scripts.busy]]
tool_call = {{ name = "work" }}
[[providers.fake.scripts.others]]
tool_call = {{ name = "wait_agent", args = "{{message}}" }}
calls = [1]
[[providers.fake.scripts.others]]
text = "All are there."
calls = [2]
[models.fake]
provider = "fake"
model = "fake-1"
"""
SETTINGS = """
[agents]
enabled = true
max_children = 100
max_family = 1000
[worker]
max_recoveries = 1000
heartbeat_seconds = 0.5
lease_seconds = 3
max_chats = {max_chats}
[database]
connect_timeout_seconds = 1
statement_timeout_seconds = 2
[http_tools.work]
description = "Work."
url = "{url}/work"
"""


class Replicas:
    """Processes on one database."""

    def __init__(
        self, folder: Path, dsn: str, stack: AsyncExitStack, *, url: str, max_chats: int
    ) -> None:
        self._folder, self._dsn, self._stack = folder, dsn, stack
        self._settings = SETTINGS.replace("{url}", url).replace("{max_chats}", str(max_chats))

    async def start(self, name: str) -> ChatdProcess:
        process = chatd_process(
            self._folder, self._dsn, name=name, settings=self._settings, scripts=SCRIPTS
        )
        started = self._stack.enter_context(process)
        await started.wait_until_ready()
        return started


@asynccontextmanager
async def replicas(
    folder: Path, dsn: str, *, url: str = "http://127.0.0.1:1", max_chats: int = 20
) -> AsyncIterator[tuple[Replicas, DatabaseInspector]]:
    """Run processes. At the end, check that no two statements waited for each other."""
    async with AsyncExitStack() as stack, inspect_database(dsn) as db:
        yield Replicas(folder, dsn, stack, url=url, max_chats=max_chats), db
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await db.fetch_value(deadlocks) == 0


async def family(db: DatabaseInspector, root_id: str) -> list[Any]:
    """Return the chats below a root, in the order of their titles."""
    return await db.fetch_all(
        "SELECT id::text, parent_chat_id::text, status, title, version FROM chats"
        " WHERE root_chat_id::text = $1 AND parent_chat_id IS NOT NULL ORDER BY title, id",
        root_id,
    )


async def last_text(api: ApiClient, chat_id: str) -> str:
    return text_of((await api.messages(chat_id))[-1]["content"])


ALL_PARTS = " ".join(f"I did part {n}." for n in range(CHILDREN))


async def test_parents_get_all_answers_whoever_dies(tmp_path: Path, dsn: str) -> None:
    async with replicas(tmp_path, dsn) as (processes, db):
        survivor = await processes.start("survivor")
        parents = []
        for n in range(KILLS):
            victim = await processes.start(f"victim{n}")
            async with clients([survivor, victim]) as apis:
                both = [apis[name] for name in (survivor.name, victim.name)]
                parents += [(await api.create("[[parent]] go"))["id"] for api in both]
            await asyncio.sleep(random.random() * FAMILY_SECONDS)
            victim.kill()
        async with clients([survivor]) as apis:
            api = apis[survivor.name]
            for parent in parents:
                await api.wait_for_status(parent, "waiting", 60)
                assert await last_text(api, parent) == ALL_PARTS
                children = await family(db, parent)
                assert [child["title"] for child in children] == [str(n) for n in range(CHILDREN)]
                assert {child["status"] for child in children} == {"waiting"}


async def test_one_slot_is_enough_for_a_family(tmp_path: Path, dsn: str) -> None:
    async with replicas(tmp_path, dsn, max_chats=1) as (processes, db):
        only = await processes.start("only")
        async with clients([only]) as apis:
            api = apis[only.name]
            root = (await api.create("[[grandparent]] go"))["id"]
            await api.wait_for_status(root, "waiting", 60)
            assert await last_text(api, root) == " ".join([ALL_PARTS] * CHILDREN)
            assert len(await family(db, root)) == CHILDREN + CHILDREN**2
            await check_commands(only, root)


async def check_commands(process: ChatdProcess, root: str) -> None:
    """Check that a family is shown as a tree, and a chat with its agents."""
    tree = await run_command(process.url, "ps", "--once", "--tree", "--limit", "50")
    rows = tree.stdout.splitlines()[1:]
    depths = [(len(row) - len(row.lstrip())) // 2 for row in rows]
    assert depths == [0, *([1] + [2] * CHILDREN) * CHILDREN], tree
    assert rows[0].startswith(root[:8])
    shown = await run_command(process.url, "show", root)
    agents = [line for line in shown.stdout.splitlines() if line.startswith("agent ")]
    assert len(agents) == CHILDREN, shown


async def test_chats_that_wait_for_each_others_agents(tmp_path: Path, dsn: str) -> None:
    """Each parent of a family waits for the agents of all others, on two replicas."""
    async with replicas(tmp_path, dsn, max_chats=100) as (processes, db):
        both = [await processes.start("one"), await processes.start("two")]
        async with clients(both) as apis:
            api = apis["one"]
            root = (await api.create("[[crowd]] go"))["id"]
            await api.wait_for_status(root, "waiting", 120)
            chats = await family(db, root)
            parents = [chat["id"] for chat in chats if chat["parent_chat_id"] == root]
            children = [chat["id"] for chat in chats if chat["parent_chat_id"] != root]
            assert (len(parents), len(children)) == (PARENTS, PARENTS)
            await asyncio.gather(
                *(send(apis, n, child, "[[slow]]") for n, child in enumerate(children))
            )
            awaited = json.dumps({"ids": children[:100]})
            await asyncio.gather(
                *(send(apis, n, p, f"[[others]] {awaited}") for n, p in enumerate(parents))
            )
            for parent in parents:
                await api.wait_for_status(parent, "waiting", 60)
                assert await last_text(api, parent) == "All are there."


async def send(apis: Any, number: int, chat_id: str, text: str) -> None:
    name = ("one", "two")[number % 2]
    answer = await apis[name].http.post(
        f"/api/v1/chats/{chat_id}/messages", json={"content": text}, timeout=60
    )
    assert answer.status_code in {200, 201, 202}, answer.text


async def test_interrupt_stops_the_family_and_its_tools(tmp_path: Path, dsn: str) -> None:
    started: list[str] = []

    async def work(request: ToolCallRequest) -> bytes:
        started.append(request.key)
        await asyncio.sleep(30)
        return response("done")

    async with (
        tool_endpoint(work) as endpoint,
        replicas(tmp_path, dsn, url=endpoint.url) as (processes, db),
    ):
        both = [await processes.start("one"), await processes.start("two")]
        async with clients(both) as apis:
            api = apis["one"]
            root = (await api.create("[[stoppable]] go"))["id"]
            await eventually(lambda: len(started) == CHILDREN)
            await api.wait_for_status(root, "parked")
            await apis["two"].http.post(f"/api/v1/chats/{root}/interrupt")
            chats = [root, *(chat["id"] for chat in await family(db, root))]
            for chat_id in chats:
                await api.wait_for_status(chat_id, "waiting")
            assert await slowest_stop(db, chats) < STOP_SECONDS
            await eventually(lambda: endpoint.closed >= CHILDREN)
            stopped = await family(db, root)
            other = (await api.create("[[parent]] go"))["id"]
            await api.wait_for_status(other, "waiting")
            assert await family(db, root) == stopped, "a chat of the family went on"
        assert len(started) == CHILDREN, "a tool was started after the interrupt"


async def slowest_stop(db: DatabaseInspector, chats: Sequence[str]) -> float:
    """Return the longest time from the interrupt to the last transition of a chat, in seconds."""
    rows = await db.fetch_all(
        "SELECT transition, created_at FROM chat_events WHERE chat_id::text = ANY($1)", [*chats]
    )
    stops: list[datetime] = [r["created_at"] for r in rows if r["transition"] == "interrupt"]
    return (max(row["created_at"] for row in rows) - min(stops)).total_seconds()
