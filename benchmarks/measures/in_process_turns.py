"""Turns per second of a daemon that is driven through its store, without HTTP.

The baseline is four plain statements through bare asyncpg. Rounds of both alternate.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from benchmarks.baseline_sql import BaselineStore
from benchmarks.context import BenchContext
from benchmarks.figures import Figure
from benchmarks.in_process import PacedProvider, in_process_daemon
from benchmarks.replica import PARTS
from benchmarks.sides import LevelResult
from chatd.daemon import Daemon
from chatd.domain.chat import Status
from chatd.domain.hint import Hint

_WARMUP_SECONDS = 0.25
_LEVEL = 16


async def measure(context: BenchContext) -> Sequence[Figure]:
    database = await context.databases.create("process")
    bare = await context.databases.create("baseline_sql", empty=True)
    store = await BaselineStore.open(bare, reset=False)
    chatd, baseline = LevelResult(), LevelResult()
    async with in_process_daemon(database, PacedProvider(parts=PARTS, interval_seconds=0.0)) as (
        daemon,
        _,
    ):
        driver = InProcessDriver(daemon)
        for number in range(context.profile.rounds + 1):
            context.report_progress(f"in process, round {number} of {context.profile.rounds}")
            for turn, into in ((driver.run_turn, chatd), (store.run_turn, baseline)):
                result = into if number else LevelResult()  # the first round warms up
                result.add(*await _run_round(turn, _LEVEL, context.profile.round_seconds))
    await store.pool.close()
    return [
        Figure(
            name=f"process_turns_per_second_{_LEVEL}",
            title=f"in process, {_LEVEL} in flight",
            value=chatd.rate,
            unit="turns/s",
            baseline=baseline.rate,
            description="store, claimer and runner without HTTP; baseline: four statements by bare asyncpg",
        )
    ]


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
