"""Cost of many chats without activity: memory, statements, reading metrics."""

import time
from collections.abc import Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.http1 import connect
from benchmarks.pg_proxy import CountingProxy
from benchmarks.replica import Process, replica

_WARMUP_SECONDS = 0.5
_SCRAPES = 20
_MANY_CHATS = 1000
"""Chats from which on their number decides, and not what a process holds anyway."""


async def measure(context: BenchContext) -> Sequence[Figure]:
    return [
        *await _measure_held_chats(context, "watched", "followed, idle", None, bound=16),
        *await _measure_held_chats(context, "streaming", "followed, leased", "[[hang]]", bound=50),
    ]


async def _measure_held_chats(
    context: BenchContext, name: str, title: str, question: str | None, *, bound: float
) -> list[Figure]:
    chats, seconds = context.profile.held_chats, context.profile.hold_seconds
    settings = f"[worker]\nmax_chats = {chats}\n"
    proxy = CountingProxy(await context.databases.create(name), context.folder)
    async with proxy, replica(context.folder, proxy.dsn, settings=settings) as process:
        await context.clients.run_task("turns", url=process.url, chats=16, seconds=_WARMUP_SECONDS)
        before = process.rss_megabytes
        context.report_progress(f"{chats} chats {title}")
        await context.clients.run_task(
            "hold_streams", url=process.url, chats=chats, question=question
        )
        await context.clients.run_task("wait", seconds=_WARMUP_SECONDS)
        after = process.rss_megabytes
        proxy.reset()
        await context.clients.run_task("wait", seconds=seconds)
        rates = proxy.statements.rates(seconds)
        scrapes = await _scrape_seconds(process)
        await context.clients.run_task("close_held")
    other = await _growth_of_other(context, name, question, settings)
    return [
        Figure(
            name=f"{name}_kilobytes_per_chat",
            title=f"{chats:,} chats {title}",
            value=(after - before) * 1024 / chats,
            unit="kB/chat",
            baseline=other,
            target=Target("≤", bound) if chats >= _MANY_CHATS else None,
            description="growth of the daemon's resident memory, its sockets' Python side included",
            detail={"MB before": before, "MB after": after},
        ),
        Figure(
            name=f"{name}_statements_per_second",
            title="… statements",
            value=sum(rates.values()),
            unit="/s",
            description=f"counted while all {chats:,} stay open",
            detail=rates,
        ),
        Figure(
            name=f"{name}_scrape_ms",
            title="… reading /metrics",
            value=percentile(scrapes, 50) * 1000,
            unit="ms",
            description="from the request to the last line (p50)",
            target=Target("<", 50),
            detail={"p99": percentile(scrapes, 99) * 1000},
        ),
    ]


async def _growth_of_other(
    context: BenchContext, name: str, question: str | None, settings: str
) -> float | None:
    """Return what a chat costs in the other installation, if there is one."""
    if context.other is None:
        return None
    do, chats = context.clients.run_task, context.profile.held_chats
    dsn = await context.databases.create(f"{name}_other", empty=True)
    async with replica(context.folder, dsn, settings=settings, python=context.other) as process:
        await do("turns", url=process.url, chats=16, seconds=_WARMUP_SECONDS)
        before = process.rss_megabytes
        await do("hold_streams", url=process.url, chats=chats, question=question)
        await do("wait", seconds=_WARMUP_SECONDS)
        after = process.rss_megabytes
        await do("close_held")
    return (after - before) * 1024 / chats


async def _scrape_seconds(process: Process) -> list[float]:
    """Return the seconds that each of some scrapes took."""
    connection, took = await connect(process.url), []
    for _ in range(_SCRAPES):
        begun = time.perf_counter()
        await connection.get("/metrics")
        took.append(time.perf_counter() - begun)
    connection.close()
    return took
