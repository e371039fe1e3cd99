"""One owner at every limit, and what another owner notices of it.

There are two replicas, each with a database of its own. One owner has 1,000 chats in flight on the first,
with a stream each, and uses all else that it may. Another owner asks in alternating rounds: the second
replica while the first has no requests (the baseline), the first one, and the second one while the first
is under load. The last shows what the machine, which all of them share, has to do with it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.load_client import LoadClient, load_client
from benchmarks.replica import Process, replica
from chatd.store.database import Database
from chatd.store.tokens import Tokens

_FREE_ACTIVE_CHATS = 8
"""Chats below ``limits.max_active_chats``, so that the owner may run turns as well."""
_SETTINGS = '[auth]\nmode = "token"\n[worker]\nmax_chats = 1100\n'
_BEGIN_SECONDS = 0.5
"""Time from the begin of the load to that of the measurement."""
_FILL = """
INSERT INTO chats (id, root_chat_id, owner_id, title, last_model_config_id)
SELECT id, id, 'noisy', 'Chat number ' || n, (SELECT id FROM chat_model_configs LIMIT 1)
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 100000) n) made;
ANALYZE chats;
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """A replica with a database, and the tokens of both owners there."""

    process: Process
    noisy: str
    quiet: str


@dataclass(slots=True)
class _Answers:
    """Durations of one kind of round, all rounds together, in seconds."""

    first: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)


async def measure(context: BenchContext) -> Sequence[Figure]:
    async with AsyncExitStack() as stack:
        loaded, other = [await _start(context, stack) for _ in range(2)]
        noisy = await stack.enter_async_context(load_client())
        chats = context.profile.held_chats - _FREE_ACTIVE_CHATS
        context.report_progress(f"{chats:,} chats in flight")
        await noisy.run_task(
            "fill_owner",
            url=loaded.process.url,
            token=loaded.noisy,
            chats=chats,
            timeout_seconds=120.0,
        )
        return await _run_rounds(context, loaded, other, noisy, chats)


async def _start(context: BenchContext, stack: AsyncExitStack) -> _Place:
    dsn = await context.databases.create("tenants")
    database = Database(dsn, statement_timeout_seconds=120)
    await database.open()
    stack.push_async_callback(database.close)
    tokens = Tokens(database)
    noisy, quiet = [(await tokens.create(owner_id=name))[1] for name in ("noisy", "quiet")]
    process = await stack.enter_async_context(
        replica(context.folder, dsn, settings=_SETTINGS, limits={})
    )
    async with database.dedicated_connection() as connection:
        await connection.execute(_FILL)
    place = _Place(process, noisy, quiet)
    await _ask(context, place, 1.0)
    return place


async def _ask(context: BenchContext, place: _Place, seconds: float) -> dict[str, Any]:
    return await context.clients.run_task(
        "quiet_owner",
        url=place.process.url,
        token=place.quiet,
        seconds=seconds,
        timeout_seconds=seconds + 120.0,
    )


async def _run_rounds(
    context: BenchContext, loaded: _Place, other: _Place, noisy: LoadClient, chats: int
) -> Sequence[Figure]:
    seconds, count = 5 * context.profile.round_seconds, context.profile.rounds
    alone, beside, elsewhere = _Answers(), _Answers(), _Answers()
    answered: Counter[str] = Counter()
    for number in range(count):
        for place, into, under_load in (
            (other, alone, False),
            (loaded, beside, True),
            (other, elsewhere, True),
        ):
            context.report_progress(f"round {number + 1} of {count}")
            load = asyncio.create_task(
                noisy.run_task(
                    "owner_at_every_limit" if under_load else "wait",
                    url=loaded.process.url,
                    token=loaded.noisy,
                    seconds=seconds + _BEGIN_SECONDS,
                    timeout_seconds=seconds + 120.0,
                )
            )
            await asyncio.sleep(_BEGIN_SECONDS)
            response = await _ask(context, place, seconds)
            into.first += response["first"]
            into.probes += response["probes"]
            answered.update((await load).get("answers", {}))
    await noisy.run_task("release_owner")
    return [
        _first_part_figure(alone, beside, elsewhere),
        _readyz_figure(alone, beside, elsewhere),
        Figure(
            name="owner_at_limits_responses_per_second",
            title="Responses to the owner at every limit",
            value=sum(answered.values()) / (2 * count * (seconds + _BEGIN_SECONDS)),
            unit="/s",
            description="By request and status, all rounds together.",
            detail={"chats in flight": chats} | dict(sorted(answered.items())),
        ),
    ]


def _first_part_figure(alone: _Answers, beside: _Answers, elsewhere: _Answers) -> Figure:
    return Figure(
        name="first_part_beside_owner_at_limits_ms_p95",
        title="First part beside an owner at every limit, p95",
        value=1000 * percentile(beside.first, 95),
        baseline=1000 * percentile(alone.first, 95),
        unit="ms",
        description="From a POST to the first part, compared with the same without the load. "
        "Elsewhere: on another replica and database, under that load on this machine.",
        target=Target("<", 3.0, "ratio"),
        detail={
            "p50": 1000 * percentile(beside.first, 50),
            "p50 alone": 1000 * percentile(alone.first, 50),
            "elsewhere": 1000 * percentile(elsewhere.first, 95),
            "p50 elsewhere": 1000 * percentile(elsewhere.first, 50),
            "answers": len(beside.first),
        },
    )


def _readyz_figure(alone: _Answers, beside: _Answers, elsewhere: _Answers) -> Figure:
    return Figure(
        name="readyz_beside_owner_at_limits_ms_max",
        title="/readyz beside an owner at every limit, slowest",
        value=1000 * max(beside.probes),
        baseline=1000 * max(alone.probes),
        unit="ms",
        description="The slowest answer of /readyz, which is asked ten times a second.",
        target=Target("≤", 100.0),
        detail={
            "p95": 1000 * percentile(beside.probes, 95),
            "elsewhere": 1000 * max(elsewhere.probes),
        },
    )
