"""Round trips and statements of a turn, counted between chatd and PostgreSQL.

Turns go one at a time with a pause between, so that nothing is shared between two of them and what
comes late (the last hint) is counted with the turn it belongs to. The client has a stream open all the
while. Afterwards the same daemon with the same stream is left alone: what it polls by itself is taken
off in proportion to time. What a pooled connection costs once (looking types up, preparing
each statement) is counted apart; turns that go before open most of them.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, Required
from chatd.bench.replica import replica
from chatd.bench.wire import Wire

_PAUSE_SECONDS = 0.03
_WARMING_TURNS = 20
_WARM_SECONDS = 0.5
_LEAST_SHOWN = 0.005
_OURS = re.compile(r"\w+\.\w+")
"""A query of chatd's own, rather than what asyncpg asks once for each connection."""


async def measure(bench: Bench) -> Sequence[Figure]:
    count, do = bench.plan.counted_turns, bench.crowd.do
    wire = Wire(await bench.ground.database("round_trips"), bench.folder)
    async with wire, replica(bench.folder, wire.dsn) as process:
        bench.say("turns that go before")
        await do("turns", url=process.url, chats=16, seconds=_WARM_SECONDS)
        await do("meet", url=process.url)
        await do("talk", turns=_WARMING_TURNS, pause=_PAUSE_SECONDS)
        bench.say(f"{count} turns, one at a time")
        wire.clear()
        begun = time.monotonic()
        await do("talk", turns=count, pause=_PAUSE_SECONDS)
        seconds = time.monotonic() - begun
        trips, statements = wire.round_trips.counts(), wire.statements.counts()
        bench.say("the same daemon and stream, left alone")
        wire.clear()
        await do("wait", seconds=bench.plan.idle_seconds)
        idle = wire.round_trips.rates(bench.plan.idle_seconds)
        await do("drop")
    return _figures(count, trips, statements, {name: rate * seconds for name, rate in idle.items()})


def _figures(
    count: int, trips: Counter[str], statements: Counter[str], idle: Mapping[str, float]
) -> list[Figure]:
    # No more is taken off than was there: a poll may have fallen outside.
    off = {name: min(idle.get(name, 0.0), float(number)) for name, number in trips.items()}
    each = {name: (number - off[name]) / count for name, number in trips.items()}
    turn = {name: value for name, value in each.items() if _OURS.fullmatch(name)}
    once = sum(each.values()) - sum(turn.values())
    said = sum(number for name, number in statements.items() if _OURS.fullmatch(name))
    polled = sum(number for name, number in off.items() if _OURS.fullmatch(name))
    shown = {name: value for name, value in turn.items() if value >= _LEAST_SHOWN}
    return [
        Figure(
            name="round_trips_per_turn",
            title="round trips",
            value=sum(turn.values()),
            unit="/turn",
            says="POST to finished with a stream open: ReadyForQuery on the wire, without idle polling",
            required=Required("≤", 6),
            detail=dict(sorted(shown.items(), key=lambda pair: -pair[1])),
        ),
        Figure(
            name="statements_per_turn",
            title="statements",
            value=(said - polled) / count,
            unit="/turn",
            says="Execute or Query on the wire, of the same turns; more round trips would be overhead",
            detail={"taken off: idle polling": polled / count, "once per connection": once},
        ),
    ]
