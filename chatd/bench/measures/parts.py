"""How old a part is when it reaches a reader: of the replica that works, and of another one.

Each part says when the model made it. On the owner it goes through memory; to another replica it goes
through PostgreSQL in batches, one statement per tick for all chats, so its age there is about half a
tick and a hint.
"""

from collections.abc import Sequence

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, percentile
from chatd.bench.inside import Clockwork, inside
from chatd.bench.measures.wake import SERVES_ONLY
from chatd.bench.replica import replica

_GAP_SECONDS = 0.02


async def measure(bench: Bench) -> Sequence[Figure]:
    plan = bench.plan
    dsn = await bench.ground.database("parts")
    model = Clockwork(parts=plan.streamed_parts, gap_seconds=_GAP_SECONDS)
    async with (
        inside(dsn, model) as (_, url),
        replica(bench.folder, dsn, settings=SERVES_ONLY) as other,
    ):
        bench.say(
            f"{plan.streaming_chats} chats, {1 / _GAP_SECONDS:g} parts/s each, two readers each"
        )
        ages = await bench.crowd.do(
            "listen", owner=url, other=other.url, chats=plan.streaming_chats
        )
    return [
        *_figures(
            "part_delay_ms", "same replica", ages["owner"], "from the model to an SSE client"
        ),
        *_figures(
            "part_delay_other_ms", "other replica", ages["other"], "the same, by the database"
        ),
    ]


def _figures(name: str, title: str, ages: Sequence[float], says: str) -> list[Figure]:
    return [
        Figure(
            name=f"{name}_p{percent}",
            title=f"{title}, p{percent}",
            value=percentile(ages, percent) * 1000,
            unit="ms",
            says=says,
            detail={"parts seen": len(ages)},
        )
        for percent in (50, 99)
    ]
