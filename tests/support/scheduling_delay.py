"""Delay that a busy machine adds, measured so that a bound of seconds may grow by it."""

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
    """Scheduling delay of the machine so far, which is no slowness of chatd.

    A wait for a timer, a lock or a lease does not count.
    """

    timer_seconds: float = 0.0
    """Total seconds by which timers were late."""
    run_queue_seconds: float = 0.0
    """Seconds for which the event loops of the measured processes had work, and no processor."""

    @property
    def total(self) -> float:
        """Seconds by which a bound may grow."""
        return self.timer_seconds + self.run_queue_seconds


@asynccontextmanager
async def measure_scheduling_delay(*processes: ChatdProcess) -> AsyncIterator[SchedulingDelay]:
    """Measure during the block how late timers are, and how long these processes wait for a CPU."""
    measured = SchedulingDelay()
    before = [thread_run_queue_seconds(process.process.pid) for process in processes]

    async def measure() -> None:
        while True:
            due = anyio.current_time() + _SAMPLE_INTERVAL_SECONDS
            await anyio.sleep(_SAMPLE_INTERVAL_SECONDS)
            measured.timer_seconds += anyio.current_time() - due
            now = sum(
                thread_run_queue_seconds(process.process.pid) for process in processes
            )  # less, after a process has ended
            measured.run_queue_seconds = max(measured.run_queue_seconds, now - sum(before))

    task = asyncio.create_task(measure())
    try:
        yield measured
    finally:
        task.cancel()
        await asyncio.wait([task])


def thread_run_queue_seconds(thread_id: int) -> float:
    """Return for how many seconds a thread was ready to run and did not, as Linux reports it.

    The thread of a process's event loop has the id of the process.
    """
    try:
        _, nanoseconds, _ = Path(f"/proc/{thread_id}/schedstat").read_text().split()
    except (OSError, ValueError):  # the process has ended, or this kernel does not count
        return 0.0
    return int(nanoseconds) / 1e9
