"""What many chats cost while nothing happens in them: memory, statements on the wire, reading metrics."""

import time
from collections.abc import Sequence

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, Required, percentile
from chatd.bench.http1 import dial
from chatd.bench.replica import Process, replica
from chatd.bench.wire import Wire

_WARM_SECONDS = 0.5
_SCRAPES = 20


async def measure(bench: Bench) -> Sequence[Figure]:
    return [
        *await _held(bench, "watched", "watched, at rest", None),
        *await _held(bench, "streaming", "watched, in hand", "[[hang]]"),
    ]


async def _held(bench: Bench, name: str, title: str, question: str | None) -> list[Figure]:
    chats, seconds = bench.plan.held_chats, bench.plan.hold_seconds
    settings = f"[worker]\nmax_chats = {chats}\n"
    wire = Wire(await bench.ground.database(name), bench.folder)
    async with wire, replica(bench.folder, wire.dsn, settings=settings) as process:
        await bench.crowd.do("turns", url=process.url, chats=16, seconds=_WARM_SECONDS)
        before = process.rss_megabytes
        bench.say(f"{chats} chats {title}")
        await bench.crowd.do("hold", url=process.url, chats=chats, question=question)
        await bench.crowd.do("wait", seconds=_WARM_SECONDS)
        after = process.rss_megabytes
        wire.clear()
        await bench.crowd.do("wait", seconds=seconds)
        rates = wire.statements.rates(seconds)
        scrapes = await _scraped(process)
        await bench.crowd.do("drop")
    return [
        Figure(
            name=f"{name}_kilobytes_per_chat",
            title=f"{chats:,} chats {title}",
            value=(after - before) * 1024 / chats,
            unit="kB/chat",
            says="growth of the daemon's resident memory, its sockets' Python side included",
            detail={"MB before": before, "MB after": after},
        ),
        Figure(
            name=f"{name}_statements_per_second",
            title="… statements",
            value=sum(rates.values()),
            unit="/s",
            says=f"counted on the wire while all {chats:,} stay open",
            detail=rates,
        ),
        Figure(
            name=f"{name}_scrape_ms",
            title="… reading /metrics",
            value=percentile(scrapes, 50) * 1000,
            unit="ms",
            says="from asking to the last line (p50)",
            required=Required("<", 50),
            detail={"p99": percentile(scrapes, 99) * 1000},
        ),
    ]


async def _scraped(process: Process) -> list[float]:
    """Seconds that each of some scrapes took."""
    line, took = await dial(process.url), []
    for _ in range(_SCRAPES):
        begun = time.perf_counter()
        await line.get("/metrics")
        took.append(time.perf_counter() - begun)
    line.close()
    return took
