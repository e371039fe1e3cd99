"""How long a chat stands still when the process that works on it is killed with SIGKILL."""

import time
from collections.abc import Sequence
from typing import Final

import anyio

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, percentile
from chatd.bench.replica import Process, start
from chatd.store.pool import Database

_OWNER: Final = "SELECT id, epoch, worker_id::text FROM chats WHERE status = 'running'"
_LOOK_SECONDS = 0.002


async def measure(bench: Bench) -> Sequence[Figure]:
    dsn = await bench.ground.database("takeover")
    database = Database(dsn)
    await database.open()
    first = start(bench.folder, dsn)
    running = {await _worker(first): first}
    stills = []
    try:
        for number in range(bench.plan.takeovers):
            bench.say(f"kill {number + 1} of {bench.plan.takeovers}")
            second = start(bench.folder, dsn)
            running[await _worker(second)] = second
            url = next(iter(running.values())).url
            await bench.crowd.do("hold", url=url, chats=1, question="[[hang]]")
            await anyio.sleep(bench.plan.settling_seconds)
            stills.append(await _kill_owner(database, running))
            await bench.crowd.do("drop")
            await database.fetch("DELETE FROM chats")
    finally:
        for process in running.values():
            process.kill()
    await database.close()
    says = f"from SIGKILL to the second replica's claim, {len(stills)} times"
    return [
        Figure(
            name="takeover_ms_p50", title="p50", value=percentile(stills, 50), unit="ms", says=says
        ),
        Figure(name="takeover_ms_max", title="slowest", value=max(stills), unit="ms", says=says),
    ]


async def _worker(process: Process) -> str:
    """Wait until it is ready; its worker id."""
    await process.ready()
    found = await process.says("daemon.starting")
    return str(found["worker_id"])


async def _kill_owner(database: Database, running: dict[str, Process]) -> float:
    """Milliseconds until somebody else has the one chat that runs."""
    row = await database.fetchrow(_OWNER)
    assert row is not None  # noqa: S101 - its model hangs
    process = running.pop(row["worker_id"])
    begun = time.perf_counter()
    process.kill()
    epoch = row["epoch"]
    with anyio.fail_after(60):
        while (row := await database.fetchrow(_OWNER)) is None or row["epoch"] == epoch:  # noqa: ASYNC110 - the fact is in PostgreSQL
            await anyio.sleep(_LOOK_SECONDS)
    return (time.perf_counter() - begun) * 1000
