"""The delay that a busy machine adds, measured so that a bound of seconds may grow by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from support.processes import ChatdProcess

_SAMPLE_INTERVAL_SECONDS = 0.05


@dataclass
class SchedulingDelay:
    """By how much the machine was behind, so far: its being busy is not the product's being slow.

    Who waits for a timer, a lock or a lease does not make it late.
    """

    timer_seconds: float = 0.0
    """Seconds by which somebody who only slept was woken too late, all times together."""
    run_queue_seconds: float = 0.0
    """Seconds for which the loops of the processes that are watched had work, and no processor."""

    @property
    def total(self) -> float:
        """What a bound of seconds may grow by."""
        return self.timer_seconds + self.run_queue_seconds


@asynccontextmanager
async def measure_scheduling_delay(*processes: ChatdProcess) -> AsyncIterator[SchedulingDelay]:
    """Meanwhile, measure how late the machine is, and how long it has these processes wait for it."""
    measured = SchedulingDelay()
    before = [thread_run_queue_seconds(one.process.pid) for one in processes]

    async def measure() -> None:
        while True:
            due = anyio.current_time() + _SAMPLE_INTERVAL_SECONDS
            await anyio.sleep(_SAMPLE_INTERVAL_SECONDS)
            measured.timer_seconds += anyio.current_time() - due
            now = sum(
                thread_run_queue_seconds(one.process.pid) for one in processes
            )  # less, once one has ended
            measured.run_queue_seconds = max(measured.run_queue_seconds, now - sum(before))

    task = asyncio.create_task(measure())
    try:
        yield measured
    finally:
        task.cancel()
        await asyncio.wait([task])


def thread_run_queue_seconds(thread_id: int) -> float:
    """For how long a thread (a process's event loop has its id) was ready to run and did not.

    As far as Linux tells.
    """
    try:
        _, nanoseconds, _ = Path(f"/proc/{thread_id}/schedstat").read_text().split()
    except (OSError, ValueError):  # it ended meanwhile, or this kernel does not count
        return 0.0
    return int(nanoseconds) / 1e9
