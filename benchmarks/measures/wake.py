"""Time from sending a message to the model call, on an otherwise idle daemon.

The daemon runs in this process, the client in another; both use the machine's one monotonic clock. For the
other replica the client posts to a process that only serves HTTP, so the message reaches the worker through
PostgreSQL and a NOTIFY.
"""

from collections.abc import Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, percentile
from benchmarks.in_process import PacedProvider, in_process_daemon
from benchmarks.replica import PARTS, replica

API_ONLY = "[worker]\nenabled = false\n"
_PAUSE_SECONDS = 0.01
_WARMUP_TURNS = 10


async def measure(context: BenchContext) -> Sequence[Figure]:
    dsn = await context.databases.create("wake")
    model = PacedProvider(parts=PARTS, interval_seconds=0.0)
    async with in_process_daemon(dsn, model) as (_, url):
        context.report_progress(
            f"{context.profile.wake_samples} messages to the replica that works"
        )
        same_replica = await _wake_seconds(context, url, model)
        async with replica(context.folder, dsn, settings=API_ONLY) as other:
            context.report_progress(f"{context.profile.wake_samples} messages to another replica")
            other_replica = await _wake_seconds(context, other.url, model)
    return [
        *_figures(
            "wake_ms",
            "same replica",
            same_replica,
            "from sending the POST to the model being called",
        ),
        *_figures(
            "wake_other_ms", "other replica", other_replica, "the same, when the hint is a NOTIFY"
        ),
    ]


async def _wake_seconds(context: BenchContext, url: str, model: PacedProvider) -> list[float]:
    model.called_at.clear()
    turns = _WARMUP_TURNS + context.profile.wake_samples
    await context.clients.run_task("open_chat", url=url)
    result = await context.clients.run_task("send_loop", turns=turns, pause=_PAUSE_SECONDS)
    await context.clients.run_task("close_held")
    pairs = zip(result["sent"], model.called_at, strict=True)
    return [called - sent for sent, called in pairs][_WARMUP_TURNS:]


def _figures(name: str, title: str, waits: Sequence[float], description: str) -> list[Figure]:
    return [
        Figure(
            name=f"{name}_p{percent}",
            title=f"{title}, p{percent}",
            value=percentile(waits, percent) * 1000,
            unit="ms",
            description=description,
        )
        for percent in (50, 99)
    ]
