"""Time until another worker claims a chat whose worker was killed with SIGKILL."""

import time
from collections.abc import Sequence
from typing import Final

import anyio

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, percentile
from benchmarks.replica import Process, start_replica
from chatd.store.database import Database

_RUNNING_CHAT: Final = "SELECT id, epoch, worker_id::text FROM chats WHERE status = 'running'"
_POLL_INTERVAL_SECONDS = 0.002


async def measure(context: BenchContext) -> Sequence[Figure]:
    dsn = await context.databases.create("takeover")
    database = Database(dsn)
    await database.open()
    first = start_replica(context.folder, dsn)
    running = {await _worker_id(first): first}
    stills = []
    try:
        for number in range(context.profile.takeovers):
            context.report_progress(f"kill {number + 1} of {context.profile.takeovers}")
            second = start_replica(context.folder, dsn)
            running[await _worker_id(second)] = second
            url = next(iter(running.values())).url
            await context.clients.run_task("hold_streams", url=url, chats=1, question="[[hang]]")
            await anyio.sleep(context.profile.settling_seconds)
            stills.append(await _kill_worker_of_chat(database, running))
            await context.clients.run_task("close_held")
            await database.fetch("DELETE FROM chats")
    finally:
        for process in running.values():
            process.kill()
    await database.close()
    description = f"from SIGKILL to the second replica's claim, {len(stills)} times"
    return [
        Figure(
            name="takeover_ms_p50",
            title="p50",
            value=percentile(stills, 50),
            unit="ms",
            description=description,
        ),
        Figure(
            name="takeover_ms_max",
            title="slowest",
            value=max(stills),
            unit="ms",
            description=description,
        ),
    ]


async def _worker_id(process: Process) -> str:
    """Wait until it is ready, and return its worker id."""
    await process.wait_until_ready()
    found = await process.wait_for_event("daemon.starting")
    return str(found["worker_id"])


async def _kill_worker_of_chat(database: Database, running: dict[str, Process]) -> float:
    """Return the milliseconds until another worker has the one running chat."""
    row = await database.fetchrow(_RUNNING_CHAT)
    assert row is not None  # noqa: S101 - its model hangs
    process = running.pop(row["worker_id"])
    begun = time.perf_counter()
    process.kill()
    epoch = row["epoch"]
    with anyio.fail_after(60):
        while (row := await database.fetchrow(_RUNNING_CHAT)) is None or row["epoch"] == epoch:  # noqa: ASYNC110 - the fact is in PostgreSQL
            await anyio.sleep(_POLL_INTERVAL_SECONDS)
    return (time.perf_counter() - begun) * 1000
