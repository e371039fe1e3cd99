"""How soon the model is called after a message was sent, on a daemon that is calm.

The daemon is in this process, the client in another; both moments are of the machine's one monotonic
clock. For the other replica the client posts to a process that only serves HTTP, so the message must
come to the worker by way of PostgreSQL and a NOTIFY.
"""

from collections.abc import Sequence

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, percentile
from chatd.bench.inside import Clockwork, inside
from chatd.bench.replica import PARTS, replica

SERVES_ONLY = "[worker]\nenabled = false\n"
_PAUSE_SECONDS = 0.01
_WARMING_TURNS = 10


async def measure(bench: Bench) -> Sequence[Figure]:
    dsn = await bench.ground.database("wake")
    model = Clockwork(parts=PARTS, gap_seconds=0.0)
    async with inside(dsn, model) as (_, url):
        bench.say(f"{bench.plan.wakes} messages to the replica that works")
        here = await _waits(bench, url, model)
        async with replica(bench.folder, dsn, settings=SERVES_ONLY) as other:
            bench.say(f"{bench.plan.wakes} messages to another replica")
            there = await _waits(bench, other.url, model)
    return [
        *_figures(
            "wake_ms", "same replica", here, "from sending the POST to the model being called"
        ),
        *_figures("wake_other_ms", "other replica", there, "the same, when the hint is a NOTIFY"),
    ]


async def _waits(bench: Bench, url: str, model: Clockwork) -> list[float]:
    model.called.clear()
    turns = _WARMING_TURNS + bench.plan.wakes
    await bench.crowd.do("meet", url=url)
    done = await bench.crowd.do("talk", turns=turns, pause=_PAUSE_SECONDS)
    await bench.crowd.do("drop")
    pairs = zip(done["sent"], model.called, strict=True)
    return [called - sent for sent, called in pairs][_WARMING_TURNS:]


def _figures(name: str, title: str, waits: Sequence[float], says: str) -> list[Figure]:
    return [
        Figure(
            name=f"{name}_p{percent}",
            title=f"{title}, p{percent}",
            value=percentile(waits, percent) * 1000,
            unit="ms",
            says=says,
        )
        for percent in (50, 99)
    ]
