"""The sides of a comparison: this chatd, another installation of it, and the floor.

Each is a process with a database of its own on the same server. Rounds alternate between them, so that
other load affects all of them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.context import BenchContext
from benchmarks.cpu import cpu_seconds
from benchmarks.figures import percentile
from benchmarks.replica import Process, baseline_process, replica


@dataclass(slots=True)
class LevelResult:
    """Turns of one side at one level, all rounds together. Costs are in seconds per turn, by round."""

    first_part_seconds: list[float] = field(default_factory=list)
    turn_seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    process_cpu: list[float] = field(default_factory=list)
    backend_cpu: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the turns per second of the median round."""
        return percentile(self.rates, 50)

    @property
    def tail(self) -> float:
        """Return how many times longer than the median the slowest hundredth of turns takes."""
        return percentile(self.turn_seconds, 99) / percentile(self.turn_seconds, 50)

    def add(self, turns: int, seconds: float) -> None:
        self.rates.append(turns / seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A process under test with its database."""

    process: Process
    dsn: str
    is_floor: bool = False

    async def cpu_seconds(self, context: BenchContext) -> tuple[float, float]:
        """Return the processor seconds of the process, and of the backends of its database."""
        backends = await context.databases.backend_pids(self.dsn)
        return cpu_seconds([self.process.pid]), cpu_seconds(backends)

    async def run_turns(
        self, context: BenchContext, *, chats: int, seconds: float, into: LevelResult, **more: Any
    ) -> None:
        """Run one round of turns."""
        before = await self.cpu_seconds(context)
        result = await context.clients.run_task(
            "turns", url=self.process.url, floor=self.is_floor, chats=chats, seconds=seconds, **more
        )
        after = await self.cpu_seconds(context)
        into.add(result["turns"], seconds)
        into.first_part_seconds += result["first"]
        into.turn_seconds += result["whole"]
        into.process_cpu.append((after[0] - before[0]) / result["all"])
        into.backend_cpu.append((after[1] - before[1]) / result["all"])


@asynccontextmanager
async def chatd_sides(
    context: BenchContext, purpose: str, *, settings: str = ""
) -> AsyncIterator[Sequence[Side]]:
    """Run this chatd and, if there is one to compare with, another installation."""
    async with AsyncExitStack() as stack:
        dsn = await context.databases.create(purpose)
        process = await stack.enter_async_context(replica(context.folder, dsn, settings=settings))
        sides = [Side(process=process, dsn=dsn)]
        if context.other is not None:
            dsn = await context.databases.create(f"{purpose}_other", empty=True)
            process = await stack.enter_async_context(
                replica(context.folder, dsn, settings=settings, python=context.other)
            )
            sides.append(Side(process=process, dsn=dsn))
        yield sides


@asynccontextmanager
async def floor_side(context: BenchContext, *, reset: bool) -> AsyncIterator[Side]:
    """Run the bare FastAPI app, with or without the reset of asyncpg's pool."""
    name = "reset" if reset else "no-reset"
    dsn = await context.databases.create(f"floor_{name}", empty=True)
    async with baseline_process(context.folder, dsn, name) as process:
        yield Side(process=process, dsn=dsn, is_floor=True)
