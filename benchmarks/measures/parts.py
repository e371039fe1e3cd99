"""Age of a part when it reaches a client: of the worker's own replica, and of another one.

Each part holds its creation time. On the worker's replica it goes through memory. To another replica it
goes through PostgreSQL in batches, one statement per flush interval for all chats, so its age there is
about half an interval and a hint.
"""

from collections.abc import Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, percentile
from benchmarks.in_process import PacedProvider, in_process_daemon
from benchmarks.measures.wake import API_ONLY
from benchmarks.replica import replica

_PART_INTERVAL_SECONDS = 0.02


async def measure(context: BenchContext) -> Sequence[Figure]:
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
        *_figures(
            "part_delay_ms", "same replica", ages["worker"], "from the model to an SSE client"
        ),
        *_figures(
            "part_delay_other_ms", "other replica", ages["other"], "the same, through the database"
        ),
    ]


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
