"""Cost of a part, and its age when it reaches a client of the worker's own replica, and of another one.

The cost is processor time of a process that streams with a pause before each part, so that each is sent
alone. It has the rest of the turn in it, a three hundredth for each part.

Each part holds its creation time. On the worker's replica it goes through memory. To another replica it
goes through PostgreSQL in batches, one statement per flush interval for all chats, so its age there is
about half an interval and a hint.
"""

from collections.abc import Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.in_process import PacedProvider, in_process_daemon
from benchmarks.measures.wake import API_ONLY
from benchmarks.replica import STREAMED_PARTS, replica
from benchmarks.sides import Side, chatd_sides

_PART_INTERVAL_SECONDS = 0.02
_BUSY_CHATS = 20


async def measure(context: BenchContext) -> Sequence[Figure]:
    costs = await _cost_figures(context)
    if context.other is not None:
        return costs
    plan = context.profile
    dsn = await context.databases.create("parts")
    model = PacedProvider(parts=plan.streamed_parts, interval_seconds=_PART_INTERVAL_SECONDS)
    async with (
        in_process_daemon(dsn, model) as (_, url),
        replica(context.folder, dsn, settings=API_ONLY) as other,
    ):
        context.report_progress(
            f"{plan.streaming_chats} chats, {1 / _PART_INTERVAL_SECONDS:g} parts/s each, two readers each"
        )
        ages = await context.clients.run_task(
            "follow_two", worker=url, other=other.url, chats=plan.streaming_chats
        )
    return [
        *costs,
        *_figures(
            "part_delay_ms", "same replica", ages["worker"], "from the model to an SSE client"
        ),
        *_figures(
            "part_delay_other_ms", "other replica", ages["other"], "the same, through the database"
        ),
    ]


async def _cost_figures(context: BenchContext) -> list[Figure]:
    """Measure the cost of a part with one chat and with many, of all sides in alternating rounds."""
    async with chatd_sides(context, "part_costs") as sides:
        costs = {chats: [list[float]() for _ in sides] for chats in (1, _BUSY_CHATS)}
        for number in range(context.profile.rounds + 1):
            for chats, by_side in costs.items():
                context.report_progress(f"{chats} chats stream, round {number}")
                for side, values in zip(sides, by_side, strict=True):
                    cost = await _cost_of_part(context, side, chats)
                    if number:  # the first round warms up
                        values.append(cost)
    return [
        Figure(
            name=f"part_cpu_us_{chats}",
            title=f"processor time, {chats} at once",
            value=percentile(by_side[0], 50),
            unit="us/part",
            baseline=percentile(by_side[1], 50) if len(by_side) > 1 else None,
            description="of the process, with one subscriber; alone, a part also wakes the idle loop",
            target=Target("≤", 50) if chats == _BUSY_CHATS and len(by_side) == 1 else None,
            detail={"lowest": min(by_side[0])},
        )
        for chats, by_side in costs.items()
    ]


async def _cost_of_part(context: BenchContext, side: Side, chats: int) -> float:
    """Return microseconds of processor time per part."""
    before, _ = await side.cpu_seconds(context)
    result = await context.clients.run_task(
        "turns",
        url=side.process.url,
        question="[[parts]]",
        chats=chats,
        seconds=context.profile.round_seconds,
    )
    after, _ = await side.cpu_seconds(context)
    return (after - before) / (int(result["all"]) * STREAMED_PARTS) * 1e6


def _figures(name: str, title: str, ages: Sequence[float], description: str) -> list[Figure]:
    return [
        Figure(
            name=f"{name}_p{percent}",
            title=f"{title}, p{percent}",
            value=percentile(ages, percent) * 1000,
            unit="ms",
            description=description,
            detail={"parts seen": len(ages)},
        )
        for percent in (50, 99)
    ]
