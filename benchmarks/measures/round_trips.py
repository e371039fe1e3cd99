"""Round trips and statements of a turn, counted between chatd and PostgreSQL.

First 16 clients run turns at once, each tenth in a new chat, and turns share statements: one for each turn
at most, polls included. Then turns run one at a time with a pause between, so that two turns share nothing
and late statements (the last hint) are counted with their turn. The client has a stream open throughout.
Afterwards the same daemon with the same stream is left idle, and its polling is subtracted in proportion to
time: three statements for each turn are left at most. Costs of a pooled connection that occur once (looking
up types, preparing each statement) are counted apart; warm-up turns open most connections.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target
from benchmarks.pg_proxy import CountingProxy
from benchmarks.replica import replica
from benchmarks.wal import wal_position
from chatd.store.database import Database

_PAUSE_SECONDS = 0.03
_WARMUP_TURNS = 20
_WARMUP_SECONDS = 0.5
_AT_ONCE = 16
_SETTLING_SECONDS = 0.5
_MIN_SHOWN = 0.005
_POLL_NOISE = 0.05
"""Of a statement that an idle process sends too, less per turn is a poll more than expected."""
_CHATD_QUERY = re.compile(r"\w+\.\w+")
"""A query of chatd, not one that asyncpg runs once for each connection."""


async def measure(context: BenchContext) -> Sequence[Figure]:
    count, do = context.profile.counted_turns, context.clients.run_task
    dsn = await context.databases.create("round_trips")
    proxy, database = CountingProxy(dsn, context.folder), Database(dsn)
    async with (
        proxy,
        replica(context.folder, proxy.dsn) as process,
        database.dedicated_connection() as connection,
    ):
        context.report_progress("turns that go before")
        await do("turns", url=process.url, chats=_AT_ONCE, seconds=_WARMUP_SECONDS)
        proxy.reset()
        context.report_progress(f"turns of {_AT_ONCE} clients")
        seconds = context.profile.round_seconds
        at_once = await do("turns", url=process.url, chats=_AT_ONCE, seconds=seconds)
        shared = proxy.statements.counts()
        await do("open_chat", url=process.url)
        await do("send_loop", turns=_WARMUP_TURNS, pause=_PAUSE_SECONDS)
        context.report_progress(f"{count} turns, one at a time")
        proxy.reset()
        begun, written = time.monotonic(), await wal_position(connection)
        await do("send_loop", turns=count, pause=_PAUSE_SECONDS)
        seconds, written = time.monotonic() - begun, await wal_position(connection) - written
        trips, statements = proxy.round_trips.counts(), proxy.statements.counts()
        context.report_progress("the same daemon and stream, left alone")
        proxy.reset()
        idle_written = await wal_position(connection)
        await do("wait", seconds=context.profile.idle_seconds)
        idle_written = await wal_position(connection) - idle_written
        idle = proxy.round_trips.rates(context.profile.idle_seconds)
        context.report_progress("the same daemon without a stream")
        await do("close_held")
        await do("wait", seconds=_SETTLING_SECONDS)
        proxy.reset()
        await do("wait", seconds=context.profile.idle_seconds)
        alone = proxy.statements.rates(context.profile.idle_seconds)
    written -= round(idle_written * seconds / context.profile.idle_seconds)
    return [
        _shared_figure(at_once["all"], shared),
        *_figures(count, trips, statements, {name: rate * seconds for name, rate in idle.items()}),
        _wal_figure(written / count),
        _idle_figure(alone),
    ]


def _figures(
    count: int, round_trips: Counter[str], statements: Counter[str], idle: Mapping[str, float]
) -> list[Figure]:
    # Subtract no more than was counted: a poll may have been outside the window.
    off = {name: min(idle.get(name, 0.0), float(number)) for name, number in round_trips.items()}
    each = {name: (number - off[name]) / count for name, number in round_trips.items()}
    turn = {name: value for name, value in each.items() if _CHATD_QUERY.fullmatch(name)}
    once = sum(each.values()) - sum(turn.values())
    sent = sum(number for name, number in statements.items() if _CHATD_QUERY.fullmatch(name))
    polled = sum(
        number if each[name] >= _POLL_NOISE else statements[name]
        for name, number in off.items()
        if number and _CHATD_QUERY.fullmatch(name)
    )
    shown = {name: value for name, value in turn.items() if value >= _MIN_SHOWN}
    return [
        Figure(
            name="round_trips_per_turn",
            title="round trips",
            value=sum(turn.values()),
            unit="/turn",
            description="POST to finished with a stream open: ReadyForQuery received, without idle polling",
            target=Target("≤", 6),
            detail=dict(sorted(shown.items(), key=lambda pair: -pair[1])),
        ),
        Figure(
            name="statements_per_turn",
            title="statements",
            value=(sent - polled) / count,
            unit="/turn",
            description="Execute or Query sent, of the same turns; more round trips would be overhead",
            target=Target("≤", 3),
            detail={"subtracted: idle polling": polled / count, "once per connection": once},
        ),
    ]


def _shared_figure(count: int, statements: Counter[str]) -> Figure:
    each = {
        name: number / count
        for name, number in statements.most_common()
        if _CHATD_QUERY.fullmatch(name)
    }
    return Figure(
        name=f"statements_per_turn_{_AT_ONCE}",
        title=f"statements, {_AT_ONCE} in flight",
        value=sum(each.values()),
        unit="/turn",
        description="all that the process sends, polls included; turns that overlap share statements",
        target=Target("≤", 1),
        detail={name: value for name, value in each.items() if value >= _MIN_SHOWN},
    )


def _wal_figure(value: float) -> Figure:
    return Figure(
        name="wal_bytes_per_turn",
        title="WAL",
        value=value,
        unit="B/turn",
        description="what the server writes for the same turns, without what it writes while idle",
    )


def _idle_figure(rates: Mapping[str, float]) -> Figure:
    idle = {name: rate for name, rate in rates.items() if _CHATD_QUERY.fullmatch(name)}
    return Figure(
        name="idle_statements_per_second",
        title="statements of an idle process",
        value=sum(idle.values()),
        unit="/s",
        description="no chat is leased and no stream is open: polls, looks, sweeps and the heartbeat",
        target=Target("≤", 4.0),
        detail=dict(sorted(idle.items(), key=lambda pair: -pair[1])),
    )
