"""Start time, and the cost of an idle process."""

import subprocess
import sys
import time
from collections.abc import Sequence

import anyio

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.load_client import environment_without_settings
from benchmarks.pg_proxy import CountingProxy
from benchmarks.replica import Process, replica, start_replica

SDK_PROVIDER = """
[providers.local]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
api_key = "none"
[models.local]
provider = "local"
model = "local"
"""
_SETTLING_SECONDS = 0.7


async def measure(context: BenchContext) -> Sequence[Figure]:
    context.report_progress("chatd --help")
    helps = [await _help_seconds() for _ in range(context.profile.starts)]
    dsn = await context.databases.create("start")
    context.report_progress("chatd run, until it is ready")
    starts = [await _start_seconds(context, dsn) for _ in range(context.profile.starts)]
    return [
        Figure(
            name="help_seconds",
            title="chatd --help",
            value=percentile(helps, 50),
            unit="s",
            description="from the command to its end (median)",
            target=Target("<", 0.4),
            detail={"slowest": max(helps)},
        ),
        Figure(
            name="ready_seconds",
            title="chatd run until ready",
            value=percentile(starts, 50),
            unit="s",
            description="from the command to /readyz answering 200, on a migrated database (median)",
            detail={"slowest": max(starts)},
        ),
        *await _measure_idle(context),
    ]


async def _help_seconds() -> float:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "chatd", "--help"]
    await anyio.run_process(command, stdout=subprocess.DEVNULL, env=environment_without_settings())
    return time.perf_counter() - begun


async def _start_seconds(context: BenchContext, dsn: str) -> float:
    begun = time.perf_counter()
    process = start_replica(context.folder, dsn)
    try:
        await process.wait_until_ready()
        return time.perf_counter() - begun
    finally:
        process.kill()


async def _settled_rss_megabytes(process: Process) -> float:
    """Return the resident memory once it stops growing: the SDK is loaded after the start."""
    megabytes, before = process.rss_megabytes, 0.0
    while megabytes > before:
        await anyio.sleep(_SETTLING_SECONDS)
        megabytes, before = process.rss_megabytes, megabytes
    return megabytes


async def _measure_idle(context: BenchContext) -> list[Figure]:
    seconds = context.profile.idle_seconds
    context.report_progress(f"an idle daemon for {seconds:g} s")
    proxy = CountingProxy(await context.databases.create("idle"), context.folder)
    async with proxy, replica(context.folder, proxy.dsn) as process:
        await anyio.sleep(1.0)
        proxy.reset()
        await anyio.sleep(seconds)
        rates = proxy.statements.rates(seconds)
        idle = process.rss_megabytes
    async with replica(
        context.folder, await context.databases.create("sdk"), models=SDK_PROVIDER
    ) as process:
        with_sdk = await _settled_rss_megabytes(process)
    return [
        Figure(
            name="idle_statements_per_second",
            title="idle: statements",
            value=sum(rates.values()),
            unit="/s",
            description="polling by one daemon without chats and streams",
            target=Target("<", 3),
            detail=rates,
        ),
        Figure(
            name="idle_rss_megabytes",
            title="idle: memory",
            value=idle,
            unit="MB",
            description="resident, with the scripted model",
            target=Target("<", 100),
        ),
        Figure(
            name="idle_rss_with_sdk_megabytes",
            title="idle: memory, real provider",
            value=with_sdk,
            unit="MB",
            description="resident, with a provider's SDK loaded",
        ),
    ]
