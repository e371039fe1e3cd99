"""Turns per second, beside two baselines that are measured in alternating rounds.

Over HTTP the clients and the daemon are processes, and the baseline is a bare FastAPI app that is driven
by the same clients. In process the daemon is driven through its store, without HTTP, and the baseline is
the same statements through bare asyncpg. Each has a database of its own on the same server.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from benchmarks.baseline_sql import BaselineStore
from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.in_process import PacedProvider, in_process_daemon
from benchmarks.replica import PARTS, Process, baseline_process, replica
from chatd.daemon import Daemon
from chatd.domain.chat import Status
from chatd.domain.hint import Hint

TARGET_LEVEL = 16
"""Active chats at which the targets hold."""
_WARMUP_SECONDS = 0.25


@dataclass(slots=True)
class LevelResult:
    """Turns of one side at one level, all rounds together."""

    first_part_seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu_seconds_per_turn: list[float] = field(default_factory=list)
    """Processor seconds of the process per turn, by round."""

    @property
    def rate(self) -> float:
        """Return the turns per second of the median round."""
        return percentile(self.rates, 50)

    def add(self, turns: int, seconds: float, first_part_seconds: Sequence[float] = ()) -> None:
        self.first_part_seconds += first_part_seconds
        self.rates.append(turns / seconds)


RoundRunner = Callable[[int, LevelResult], Awaitable[None]]
LevelResults = dict[int, tuple[LevelResult, LevelResult]]


async def measure(context: BenchContext) -> Sequence[Figure]:
    over_http, bare = await _over_http(context), await _in_process(context)
    return [
        *(_http_figure(level, *pair) for level, pair in over_http.items()),
        _cpu_figure(*over_http[TARGET_LEVEL]),
        *(_first_part_figure(level, *over_http[level]) for level in (1, TARGET_LEVEL)),
        *(_process_figure(level, *pair) for level, pair in bare.items()),
    ]


async def _over_http(context: BenchContext) -> LevelResults:
    database = await context.databases.create("http")
    bare = await context.databases.create("baseline_http")
    async with (
        replica(context.folder, database) as chatd,
        baseline_process(context.folder, bare) as app,
    ):

        def driven(process: Process) -> RoundRunner:
            async def drive(level: int, into: LevelResult) -> None:
                seconds, before = context.profile.round_seconds, process.cpu_seconds
                load_result = await context.clients.run_task(
                    "turns", url=process.url, chats=level, seconds=seconds
                )
                into.add(load_result["turns"], seconds, load_result["first"])
                into.cpu_seconds_per_turn.append(
                    (process.cpu_seconds - before) / load_result["all"]
                )

            return drive

        return await _alternate_rounds(context, "over HTTP", driven(chatd), driven(app))


async def _in_process(context: BenchContext) -> LevelResults:
    database = await context.databases.create("process")
    store = await BaselineStore.open(await context.databases.create("baseline_sql"))
    async with in_process_daemon(database, PacedProvider(parts=PARTS, interval_seconds=0.0)) as (
        daemon,
        _,
    ):
        driver = InProcessDriver(daemon)

        def driven(turn: Callable[[], Awaitable[None]]) -> RoundRunner:
            async def drive(level: int, into: LevelResult) -> None:
                into.add(*await _run_round(turn, level, context.profile.round_seconds))

            return drive

        pairs = await _alternate_rounds(
            context, "in process", driven(driver.run_turn), driven(store.run_turn)
        )
    await store.pool.close()
    return pairs


async def _alternate_rounds(
    context: BenchContext, where: str, chatd_round: RoundRunner, baseline_round: RoundRunner
) -> LevelResults:
    """Run one round of each in turn, so that other load affects both."""
    for contestant in (chatd_round, baseline_round):
        await contestant(TARGET_LEVEL, LevelResult())
    pairs: LevelResults = {
        level: (LevelResult(), LevelResult()) for level in context.profile.concurrency_levels
    }
    for level, pair in pairs.items():
        for number in range(context.profile.rounds):
            context.report_progress(
                f"{where}: {level} in flight, round {number + 1} of {context.profile.rounds}"
            )
            for contestant, into in zip((chatd_round, baseline_round), pair, strict=True):
                await contestant(level, into)
    return pairs


async def _run_round(
    turn: Callable[[], Awaitable[None]], level: int, seconds: float
) -> tuple[int, float]:
    """Count as ``load.turns`` does: from when as many turns have ended as are active."""
    warm, begun = time.perf_counter() + _WARMUP_SECONDS, float("inf")
    ends: list[float] = []

    async def keep_one() -> None:
        nonlocal begun
        while (now := time.perf_counter()) < begun + seconds:
            await turn()
            ends.append(time.perf_counter())
            if begun == float("inf") and len(ends) >= level and now >= warm:
                begun = time.perf_counter()

    await asyncio.gather(*(keep_one() for _ in range(level)))
    return sum(begun < end <= begun + seconds for end in ends), seconds


class InProcessDriver:
    """Driver of turns of a daemon without HTTP: the transition and the hint of a POST, and the end."""

    def __init__(self, daemon: Daemon) -> None:
        self._services = daemon.services
        self._model_id = daemon.catalog.default.id
        self._turn_ends: dict[UUID, asyncio.Future[Status]] = {}
        self._services.change_bus.subscribe(self._on_hint)

    def _on_hint(self, hint: Hint) -> None:
        if hint.status in {Status.WAITING, Status.ERROR} and hint.chat_id in self._turn_ends:
            self._turn_ends.pop(hint.chat_id).set_result(hint.status)

    async def run_turn(self) -> None:
        services = self._services
        moved = await services.store.chats.create(
            owner_id="local",
            model_config_id=self._model_id,
            content=({"type": "text", "text": "Which way to the station?"},),
        )
        end = self._turn_ends[moved.chat.id] = asyncio.get_running_loop().create_future()
        assert await end is Status.WAITING  # noqa: S101 - else there is nothing to measure


def _http_figure(level: int, result: LevelResult, baseline: LevelResult) -> Figure:
    return Figure(
        name=f"http_turns_per_second_{level}",
        title=f"over HTTP, {level} in flight",
        value=result.rate,
        unit="turns/s",
        baseline=baseline.rate,
        description="POST a chat, follow its stream to the end; baseline: a bare FastAPI app",
        target=Target("≥", 0.5, applies_to="ratio") if level == TARGET_LEVEL else None,
        detail=_ratio_range(result, baseline),
    )


def _cpu_figure(result: LevelResult, baseline: LevelResult) -> Figure:
    return Figure(
        name=f"cpu_ms_per_turn_{TARGET_LEVEL}",
        title=f"processor time, {TARGET_LEVEL} in flight",
        value=percentile(result.cpu_seconds_per_turn, 50) * 1000,
        unit="ms/turn",
        baseline=percentile(baseline.cpu_seconds_per_turn, 50) * 1000,
        description="of the serving process alone, without PostgreSQL: other load disturbs it least",
    )


def _first_part_figure(level: int, result: LevelResult, baseline: LevelResult) -> Figure:
    return Figure(
        name=f"first_part_ms_{level}",
        title=f"first part, {level} in flight",
        value=percentile(result.first_part_seconds, 50) * 1000,
        unit="ms",
        baseline=percentile(baseline.first_part_seconds, 50) * 1000,
        description="from sending the POST to the first part at the client (p50)",
        target=Target("≤", 3, applies_to="ratio") if level == TARGET_LEVEL else None,
        detail={
            "p99": percentile(result.first_part_seconds, 99) * 1000,
            "baseline p99": percentile(baseline.first_part_seconds, 99) * 1000,
        },
    )


def _process_figure(level: int, result: LevelResult, baseline: LevelResult) -> Figure:
    return Figure(
        name=f"process_turns_per_second_{level}",
        title=f"in process, {level} in flight",
        value=result.rate,
        unit="turns/s",
        baseline=baseline.rate,
        description="store, claimer and runner without HTTP; baseline: the four statements by bare asyncpg",
        detail=_ratio_range(result, baseline),
    )


def _ratio_range(result: LevelResult, baseline: LevelResult) -> dict[str, float]:
    ratios = [
        rate / baseline_rate
        for rate, baseline_rate in zip(result.rates, baseline.rates, strict=True)
    ]
    return {"lowest ratio of a round": min(ratios), "highest": max(ratios)}
