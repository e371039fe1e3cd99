"""Deaths of workers, and what only looks like one: kills, and resets of the heartbeat's connection.

``CHATD_TEST_KILLS``, ``CHATD_TEST_RESETS`` and ``CHATD_TEST_RESET_PROCESSES`` make the tests longer.
"""

import os
import random
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from support.database_inspector import DatabaseInspector, inspect_database
from support.eventually import eventually
from support.processes import HANGING_SCRIPTS, SCRIPTS, ChatdProcess, chatd_process, replicas
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import clients

KILLS = int(os.environ.get("CHATD_TEST_KILLS", "2"))
RESETS = int(os.environ.get("CHATD_TEST_RESETS", "8"))
RESET_PROCESSES = int(os.environ.get("CHATD_TEST_RESET_PROCESSES", "2"))

LONG_SCRIPTS = SCRIPTS.replace("repeat = 3\nchunks = 40\n", f"chunks = {40 + 4 * RESETS}\n")
"""Scripts whose slow answer lasts for as long as the resets."""

MAX_RECOVERIES = 3
"""The default of ``worker.max_recoveries``."""
NEIGHBOURS = SCRIPTS.replace("repeat = 3\nchunks = 40\n", "chunks = 30\n")
"""Scripts whose slow answer takes longer than it takes to see that a worker is dead."""

HEARTBEAT_SESSIONS = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def sessions(db: DatabaseInspector) -> set[int]:
    return {row["pid"] for row in await db.fetch_all(HEARTBEAT_SESSIONS)}


async def test_resets_of_heartbeat_connections_cost_no_turn(tmp_path: Path, dsn: str) -> None:
    names = [f"w{n}" for n in range(RESET_PROCESSES)]
    seconds: list[float] = []
    async with (
        replicas(tmp_path, dsn, *names, scripts=LONG_SCRIPTS) as workers,
        clients(workers) as apis,
        inspect_database(dsn) as db,
    ):
        chats = [(await api.create("[[slow]]"))["id"] for api in apis.values() for _ in range(3)]
        for chat_id in chats:
            await db.wait_for_transition(chat_id, "claim")
        for _ in range(RESETS):
            before = await sessions(db)
            assert len(before) == len(names)
            victim = random.choice(sorted(before))
            began = await db.now()
            await db.fetch_value("SELECT pg_terminate_backend($1)", victim)

            async def is_back(before: set[int] = before, victim: int = victim) -> bool:
                now = await sessions(db)
                return len(now) == len(before) and victim not in now

            async with measure_scheduling_delay(*workers) as busy:
                await eventually(is_back, interval_seconds=0.01)
            seconds.append((await db.now() - began).total_seconds())
            assert seconds[-1] < 1 + busy.total, "a living worker is seen within the second"
        for chat_id in chats:
            await next(iter(apis.values())).wait_for_status(chat_id, "waiting", 60)
            assert await db.transitions(chat_id) == ["create", "claim", "finish_turn"]
        assert await db.fetch_value("SELECT max(recoveries) FROM chats") == 0
        assert not any(worker.logged("chat.lost") for worker in workers)
    report("resets", seconds, processes=len(names), chats=len(chats))


async def test_chats_of_killed_workers_run_elsewhere_within_three_seconds(
    tmp_path: Path, dsn: str
) -> None:
    """Each killed process is replaced, so that there are always two others."""
    settings = "[worker]\nmax_recoveries = 1000"
    seconds: list[float] = []
    async with AsyncExitStack() as stack, inspect_database(dsn) as db:

        async def started(name: str) -> Any:
            process = chatd_process(
                tmp_path, dsn, name=name, settings=settings, scripts=HANGING_SCRIPTS
            )
            worker = stack.enter_context(process)
            await worker.wait_until_ready()
            return worker

        workers = [await started(f"w{n}") for n in range(3)]
        for number in range(KILLS):
            async with clients(workers[:1]) as apis:
                chat_id = (await apis[workers[0].name].create("[[slow]]"))["id"]
            owner, others = await db.wait_for_worker(chat_id, *workers)
            async with measure_scheduling_delay(*others) as busy:
                killed_at = await db.now()
                owner.send_signal(signal.SIGKILL)
                claimed = await db.wait_for_transition(chat_id, "claim", times=2)
            seconds.append((claimed["created_at"] - killed_at).total_seconds() - busy.total)
            workers = [*others, await started(f"r{number}")]
    report("kills", seconds)
    assert sorted(seconds)[int(0.95 * (len(seconds) - 1))] < 3


async def test_only_the_chat_that_kills_its_workers_fails(tmp_path: Path, dsn: str) -> None:
    """A process dies whenever it runs the chat. The chats beside it are answered."""
    async with AsyncExitStack() as stack, inspect_database(dsn) as db:

        async def started(name: str) -> ChatdProcess:
            process = chatd_process(tmp_path, dsn, name=name, scripts=NEIGHBOURS)
            worker = stack.enter_context(process)
            await worker.wait_until_ready()
            return worker

        workers = [await started("w0"), await started("w1")]
        async with clients(workers[:1]) as apis:
            poison = (await apis["w0"].create("[[hang]]"))["id"]
            neighbours = [(await apis["w0"].create("[[slow]]"))["id"] for _ in range(3)]
        for death in range(1, MAX_RECOVERIES + 2):
            await db.wait_for_transition(poison, "claim", times=death)
            victim, others = await db.wait_for_worker(poison, *workers)
            victim.send_signal(signal.SIGKILL)
            workers = [*others, await started(f"r{death}")]
        async with clients(workers) as apis:
            api = apis[workers[0].name]
            failed = await api.wait_for_status(poison, "error")
            assert failed["last_error_detail"]["kind"] == "crash_loop"
            for chat_id in neighbours:
                assert (await api.wait_for_status(chat_id, "waiting"))["last_error"] is None
                assert await db.transitions(chat_id) == [
                    "create", *(["claim", "reap"] * await reaps(db, chat_id)), "claim", "finish_turn"
                ]  # fmt: skip
        shared = [await reaps(db, chat_id) for chat_id in neighbours]
        assert min(shared) >= 1, "the first death hit all of them"
        assert max(shared) < MAX_RECOVERIES


async def reaps(db: DatabaseInspector, chat_id: str) -> int:
    return (await db.transitions(chat_id)).count("reap")


def report(what: str, seconds: list[float], **more: int) -> None:
    """Print the figures, for those who read the output of a long run."""
    ordered = sorted(seconds)
    p50, p95 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95))
    sys.stdout.write(
        f"{len(seconds)} {what} {more}: p50 {p50:.2f} s, p95 {p95:.2f} s, max {ordered[-1]:.2f} s\n"
    )
