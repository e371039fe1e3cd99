"""Turns per second, against two floors that are measured in alternating rounds.

Over HTTP the clients and the daemon are processes, and the floor is a bare FastAPI app that is driven
by the same clients. In process the daemon is driven through its store, without HTTP, and the floor is
the same statements through bare asyncpg. Everyone has a database of its own on the same server.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from chatd.bench.bench import Bench
from chatd.bench.figures import Figure, Required, percentile
from chatd.bench.floor_sql import FloorStore
from chatd.bench.inside import Clockwork, inside
from chatd.bench.replica import PARTS, Process, floor, replica
from chatd.daemon import Daemon
from chatd.domain.chat import Status
from chatd.domain.event import Hint

JUDGED = 16
"""Chats in flight at which the requirements hold."""
_WARM_SECONDS = 0.25


@dataclass(slots=True)
class Round:
    """Turns of one contestant at one level, all rounds together."""

    first: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor seconds of the process per turn, by round."""

    @property
    def rate(self) -> float:
        """Turns per second in the middle one of the rounds."""
        return percentile(self.rates, 50)

    def add(self, turns: int, seconds: float, first: Sequence[float] = ()) -> None:
        self.first += first
        self.rates.append(turns / seconds)


Contestant = Callable[[int, Round], Awaitable[None]]
Pair = dict[int, tuple[Round, Round]]


async def measure(bench: Bench) -> Sequence[Figure]:
    over_http, bare = await _over_http(bench), await _in_process(bench)
    return [
        *(_http_figure(level, *pair) for level, pair in over_http.items()),
        _cpu_figure(*over_http[JUDGED]),
        *(_first_figure(level, *over_http[level]) for level in (1, JUDGED)),
        *(_process_figure(level, *pair) for level, pair in bare.items()),
    ]


async def _over_http(bench: Bench) -> Pair:
    ours = await bench.ground.database("http")
    bare = await bench.ground.database("floor_http")
    async with replica(bench.folder, ours) as chatd, floor(bench.folder, bare) as app:

        def driven(process: Process) -> Contestant:
            async def drive(level: int, into: Round) -> None:
                seconds, before = bench.plan.round_seconds, process.cpu_seconds
                done = await bench.crowd.do("turns", url=process.url, chats=level, seconds=seconds)
                into.add(done["turns"], seconds, done["first"])
                into.cpu.append((process.cpu_seconds - before) / done["all"])

            return drive

        return await _alternate(bench, "over HTTP", driven(chatd), driven(app))


async def _in_process(bench: Bench) -> Pair:
    ours = await bench.ground.database("process")
    store = await FloorStore.open(await bench.ground.database("floor_sql"))
    async with inside(ours, Clockwork(parts=PARTS, gap_seconds=0.0)) as (daemon, _):
        driver = Driver(daemon)

        def driven(turn: Callable[[], Awaitable[None]]) -> Contestant:
            async def drive(level: int, into: Round) -> None:
                into.add(*await _drive(turn, level, bench.plan.round_seconds))

            return drive

        pairs = await _alternate(bench, "in process", driven(driver.turn), driven(store.turn))
    await store.pool.close()
    return pairs


async def _alternate(bench: Bench, where: str, ours: Contestant, bare: Contestant) -> Pair:
    """One round of each in turn, so that what else the machine does falls on both."""
    for contestant in (ours, bare):
        await contestant(JUDGED, Round())
    pairs: Pair = {level: (Round(), Round()) for level in bench.plan.levels}
    for level, pair in pairs.items():
        for number in range(bench.plan.rounds):
            bench.say(f"{where}: {level} in flight, round {number + 1} of {bench.plan.rounds}")
            for contestant, into in zip((ours, bare), pair, strict=True):
                await contestant(level, into)
    return pairs


async def _drive(
    turn: Callable[[], Awaitable[None]], level: int, seconds: float
) -> tuple[int, float]:
    """As ``load.turns`` does it: counted from when as many have ended as are in flight."""
    warm, begun = time.perf_counter() + _WARM_SECONDS, float("inf")
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


class Driver:
    """Makes turns of a daemon without HTTP: the move and the hint that a POST makes, and the end."""

    def __init__(self, daemon: Daemon) -> None:
        self._rooms = daemon.services
        self._model_id = daemon.catalog.default.id
        self._ends: dict[UUID, asyncio.Future[Status]] = {}
        self._rooms.change_bus.subscribe(self._heard)

    def _heard(self, hint: Hint) -> None:
        if hint.status in {Status.WAITING, Status.ERROR} and hint.chat_id in self._ends:
            self._ends.pop(hint.chat_id).set_result(hint.status)

    async def turn(self) -> None:
        rooms = self._rooms
        moved = await rooms.chats.create(
            owner_id="local",
            model_config_id=self._model_id,
            content=({"type": "text", "text": "Which way to the station?"},),
        )
        end = self._ends[moved.chat.id] = asyncio.get_running_loop().create_future()
        rooms.change_bus.publish(moved.entry)
        assert await end is Status.WAITING  # noqa: S101 - else there is nothing to measure


def _http_figure(level: int, ours: Round, bare: Round) -> Figure:
    return Figure(
        name=f"http_turns_per_second_{level}",
        title=f"over HTTP, {level} in flight",
        value=ours.rate,
        unit="turns/s",
        floor=bare.rate,
        says="POST a chat, follow its stream to the end; floor: a bare FastAPI app",
        required=Required("≥", 0.5, of="ratio") if level == JUDGED else None,
        detail=_spread(ours, bare),
    )


def _cpu_figure(ours: Round, bare: Round) -> Figure:
    return Figure(
        name=f"cpu_ms_per_turn_{JUDGED}",
        title=f"processor time, {JUDGED} in flight",
        value=percentile(ours.cpu, 50) * 1000,
        unit="ms/turn",
        floor=percentile(bare.cpu, 50) * 1000,
        says="of the serving process alone, without PostgreSQL: the figure a busy machine disturbs least",
    )


def _first_figure(level: int, ours: Round, bare: Round) -> Figure:
    return Figure(
        name=f"first_part_ms_{level}",
        title=f"first part, {level} in flight",
        value=percentile(ours.first, 50) * 1000,
        unit="ms",
        floor=percentile(bare.first, 50) * 1000,
        says="from sending the POST to the first part at the client (p50)",
        required=Required("≤", 3, of="ratio") if level == JUDGED else None,
        detail={
            "p99": percentile(ours.first, 99) * 1000,
            "floor p99": percentile(bare.first, 99) * 1000,
        },
    )


def _process_figure(level: int, ours: Round, bare: Round) -> Figure:
    return Figure(
        name=f"process_turns_per_second_{level}",
        title=f"in process, {level} in flight",
        value=ours.rate,
        unit="turns/s",
        floor=bare.rate,
        says="store, acquirer and runner without HTTP; floor: the four statements by bare asyncpg",
        detail=_spread(ours, bare),
    )


def _spread(ours: Round, bare: Round) -> dict[str, float]:
    ratios = [mine / its for mine, its in zip(ours.rates, bare.rates, strict=True)]
    return {"lowest ratio of a round": min(ratios), "highest": max(ratios)}
