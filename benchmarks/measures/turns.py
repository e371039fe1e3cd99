"""Cost of a turn over HTTP, and turns per second, beside the floor.

The clients and each server are processes, and rounds of them alternate. Processor time per turn, of the
process and of PostgreSQL's backends, leads: other load moves it least. The floor is a bare FastAPI app with
four statements (``baseline_app``). Its pool resets connections after each statement, as asyncpg's does;
figures without the reset stand beside. With another installation of chatd, that one is the baseline.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.measures import in_process_turns
from benchmarks.sides import LevelResult, Side, chatd_sides, floor_side

TARGET_LEVEL = 16
"""Active chats at which the targets hold."""
_FLOOR = "baseline: the floor, with the reset of asyncpg's pool"
_OTHER = "baseline: the other installation"

Results = dict[int, list[LevelResult]]
"""By level: of chatd, of its baseline and, beside the floor, of the floor without the reset."""


async def measure(context: BenchContext) -> Sequence[Figure]:
    async with AsyncExitStack() as stack:
        sides = [*await stack.enter_async_context(chatd_sides(context, "http"))]
        if context.other is None:
            sides += [
                await stack.enter_async_context(floor_side(context, reset=True)),
                await stack.enter_async_context(floor_side(context, reset=False)),
            ]
        results = await _alternate_rounds(context, sides)
        late = await _rounds(context, sides, 1, reopens=True)
    note = _FLOOR if context.other is None else _OTHER
    figures = [
        *_cost_figures(results[TARGET_LEVEL], note, has_targets=context.other is None),
        *(_rate_figure(level, each, note) for level, each in results.items()),
        *(_first_part_figure(level, results[level], note) for level in (1, TARGET_LEVEL)),
        _late_stream_figure(late, note),
        _tail_figure(results[TARGET_LEVEL], note),
    ]
    if context.other is None:
        figures += await in_process_turns.measure(context)
    return figures


async def _alternate_rounds(context: BenchContext, sides: Sequence[Side]) -> Results:
    for side in sides:  # warm up
        seconds = context.profile.round_seconds
        await side.run_turns(context, chats=TARGET_LEVEL, seconds=seconds, into=LevelResult())
    return {
        level: await _rounds(context, sides, level) for level in context.profile.concurrency_levels
    }


async def _rounds(
    context: BenchContext, sides: Sequence[Side], level: int, **more: bool
) -> list[LevelResult]:
    """Run one round of each side in turn, so that other load affects all of them."""
    results = [LevelResult() for _ in sides]
    for number in range(context.profile.rounds):
        context.report_progress(
            f"{level} in flight, round {number + 1} of {context.profile.rounds}"
        )
        for side, into in zip(sides, results, strict=True):
            seconds = context.profile.round_seconds
            await side.run_turns(context, chats=level, seconds=seconds, into=into, **more)
    return results


def _cost_figures(results: list[LevelResult], note: str, *, has_targets: bool) -> list[Figure]:
    process = [percentile(each.process_cpu, 50) * 1000 for each in results]
    backends = [percentile(each.backend_cpu, 50) * 1000 for each in results]
    return [
        Figure(
            name=f"{name}_ms_per_turn_{TARGET_LEVEL}",
            title=f"{title}, {TARGET_LEVEL} in flight",
            value=values[0],
            unit="ms/turn",
            baseline=values[1] if len(values) > 1 else None,
            description=f"processor time, which other load disturbs least; {note}",
            target=Target("≤", bound, applies_to="ratio") if has_targets else None,
            detail=_without_reset(values),
        )
        for name, title, values, bound in (
            ("cpu", "processor time of chatd", process, 1.15),
            ("backend_cpu", "of PostgreSQL's backends", backends, 0.6),
        )
    ]


def _rate_figure(level: int, results: list[LevelResult], note: str) -> Figure:
    rates = [each.rate for each in results]
    ratios = [a / b for a, b in zip(results[0].rates, results[1].rates, strict=True)]
    is_target = level == TARGET_LEVEL and _is_beside_floor(results)
    return Figure(
        name=f"http_turns_per_second_{level}",
        title=f"over HTTP, {level} in flight",
        value=rates[0],
        unit="turns/s",
        baseline=rates[1],
        description=f"POST a message, follow the open stream to the end of its turn; {note}",
        target=Target("≥", 0.9, applies_to="ratio") if is_target else None,
        detail=_without_reset(rates)
        | {"lowest ratio of a round": min(ratios), "highest": max(ratios)},
    )


def _first_part_figure(level: int, results: list[LevelResult], note: str) -> Figure:
    values = [percentile(each.first_part_seconds, 50) * 1000 for each in results]
    is_target = level == 1 and _is_beside_floor(results)
    return Figure(
        name=f"first_part_ms_{level}",
        title=f"first part, {level} in flight",
        value=values[0],
        unit="ms",
        baseline=values[1],
        description=f"from sending the POST to the first part at the client (p50); {note}",
        target=Target("≤", 1.3, applies_to="ratio") if is_target else None,
        detail=_without_reset(values)
        | {"p99": percentile(results[0].first_part_seconds, 99) * 1000},
    )


def _late_stream_figure(results: list[LevelResult], note: str) -> Figure:
    values = [percentile(each.first_part_seconds, 50) * 1000 for each in results]
    return Figure(
        name="first_part_ms_late_stream",
        title="… stream opened after the POST",
        value=values[0],
        unit="ms",
        baseline=values[1],
        description=f"a stream for each turn, from the version that the POST answers; {note}",
        target=Target("≤", 2, applies_to="ratio") if _is_beside_floor(results) else None,
        detail=_without_reset(values),
    )


def _tail_figure(results: list[LevelResult], note: str) -> Figure:
    tails = [each.tail for each in results]
    return Figure(
        name=f"tail_{TARGET_LEVEL}",
        title=f"p99 / p50 of a turn, {TARGET_LEVEL} in flight",
        value=tails[0],
        unit="times",
        baseline=tails[1],
        description=f"how much longer the slowest hundredth of turns takes; {note}",
        target=Target("≤", 2),
        detail={
            f"p{percent} ms": percentile(results[0].turn_seconds, percent) * 1000
            for percent in (50, 99)
        }
        | _without_reset(tails),
    )


def _is_beside_floor(sides: Sequence[object]) -> bool:
    """Return whether there are values of chatd, of the floor and of the floor without the reset."""
    return len(sides) == 3  # noqa: PLR2004 - as ``measure`` makes them


def _without_reset(values: Sequence[float]) -> dict[str, float]:
    """Return the value of the floor without the reset, and the ratio to it."""
    if not _is_beside_floor(values):
        return {}
    return {"floor without reset": values[2], "ratio to that": values[0] / values[2]}
