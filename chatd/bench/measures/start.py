"""How long starting takes, and what a process costs that has nothing to do."""

import subprocess
import sys
import time
from collections.abc import Sequence

import anyio

from chatd.bench.bench import Bench
from chatd.bench.crowd import without_settings
from chatd.bench.figures import Figure, Required, percentile
from chatd.bench.replica import Process, replica, start
from chatd.bench.wire import Wire

VENDOR = """
[providers.vendor]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key = "none"
[models.vendor]
provider = "vendor"
model = "vendor"
"""
_SETTLING_SECONDS = 0.7


async def measure(bench: Bench) -> Sequence[Figure]:
    bench.say("chatd --help")
    helps = [await _help_seconds() for _ in range(bench.plan.starts)]
    dsn = await bench.ground.database("start")
    bench.say("chatd run, until it is ready")
    starts = [await _start_seconds(bench, dsn) for _ in range(bench.plan.starts)]
    return [
        Figure(
            name="help_seconds",
            title="chatd --help",
            value=percentile(helps, 50),
            unit="s",
            says="from the command to its end (median)",
            required=Required("<", 0.4),
            detail={"slowest": max(helps)},
        ),
        Figure(
            name="ready_seconds",
            title="chatd run until ready",
            value=percentile(starts, 50),
            unit="s",
            says="from the command to /readyz answering 200, on a migrated database (median)",
            detail={"slowest": max(starts)},
        ),
        *await _idle(bench),
    ]


async def _help_seconds() -> float:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "chatd", "--help"]
    await anyio.run_process(command, stdout=subprocess.DEVNULL, env=without_settings())
    return time.perf_counter() - begun


async def _start_seconds(bench: Bench, dsn: str) -> float:
    begun = time.perf_counter()
    process = start(bench.folder, dsn)
    try:
        await process.ready()
        return time.perf_counter() - begun
    finally:
        process.kill()


async def _settled(process: Process) -> float:
    """Resident memory when it does not grow any more: the SDK is loaded behind the start."""
    megabytes, before = process.rss_megabytes, 0.0
    while megabytes > before:
        await anyio.sleep(_SETTLING_SECONDS)
        megabytes, before = process.rss_megabytes, megabytes
    return megabytes


async def _idle(bench: Bench) -> list[Figure]:
    seconds = bench.plan.idle_seconds
    bench.say(f"an idle daemon for {seconds:g} s")
    wire = Wire(await bench.ground.database("idle"), bench.folder)
    async with wire, replica(bench.folder, wire.dsn) as process:
        await anyio.sleep(1.0)
        wire.clear()
        await anyio.sleep(seconds)
        rates = wire.statements.rates(seconds)
        idle = process.rss_megabytes
    async with replica(bench.folder, await bench.ground.database("sdk"), models=VENDOR) as process:
        vendor = await _settled(process)
    return [
        Figure(
            name="idle_statements_per_second",
            title="idle: statements",
            value=sum(rates.values()),
            unit="/s",
            says="polling by one daemon that has no chats and no streams, counted on the wire",
            required=Required("<", 3),
            detail=rates,
        ),
        Figure(
            name="idle_rss_megabytes",
            title="idle: memory",
            value=idle,
            unit="MB",
            says="resident, with the scripted model",
            required=Required("<", 100),
        ),
        Figure(
            name="idle_rss_with_sdk_megabytes",
            title="idle: memory, real provider",
            value=vendor,
            unit="MB",
            says="resident, when a vendor's SDK is loaded too",
        ),
    ]
