"""Charts of the last hour, as points of SVG lines and as tables of the same numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from chatd.console.formats import count, seconds_words

MINUTES: Final = 60
WIDTH: Final = 300
HEIGHT: Final = 72
"""Size of a chart in units of its own. The page stretches it."""
_TABLE_MINUTES: Final = 10
"""Minutes of one row of a table: six rows for an hour are read by ear, too."""

Combine = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartSpec:
    """A chart: its title, the series in it with their names, and how numbers of a minute are combined."""

    title: str
    unit: str
    series: Mapping[str, str]
    combine: Combine


CHARTS: Final = (
    ChartSpec(
        title="Turns a minute",
        unit="count",
        series={"turns_finished": "ended well", "turns_failed": "failed"},
        combine=sum,
    ),
    ChartSpec(
        title="Time to the first part",
        unit="seconds",
        series={"first_part_median_seconds": "median", "first_part_p95_seconds": "95th percentile"},
        combine=max,
    ),
    ChartSpec(
        title="Chats",
        unit="count",
        series={"leased_chats": "leased here", "pending_chats": "pending in all"},
        combine=max,
    ),
    ChartSpec(
        title="Calls to models a minute",
        unit="count",
        series={"model_calls": "all", "model_errors": "failed"},
        combine=sum,
    ),
    ChartSpec(
        title="Tokens written a minute",
        unit="count",
        series={"output_tokens": "tokens"},
        combine=sum,
    ),
    ChartSpec(
        title="Delay of the event loop",
        unit="seconds",
        series={"loop_lag_p95_seconds": "95th percentile"},
        combine=max,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series of a chart: its points, in as many pieces as gaps in it leave, and its last number."""

    name: str
    pieces: Sequence[str]
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart as the page draws it. ``rows`` are the same numbers for those who read a table."""

    title: str
    lines: Sequence[Line]
    top: str
    summary: str
    rows: Sequence[tuple[str, Sequence[str]]]


def draw(spec: ChartSpec, history: Mapping[str, Any]) -> Chart:
    """Return a chart of the last hour before the last sample."""
    times = [datetime.fromisoformat(time) for time in history["times"]]
    values = {series["name"]: series["values"] for series in history["series"]}
    shown = seconds_words if spec.unit == "seconds" else count
    minutes = {
        label: by_minute(times, values.get(name, ()), spec.combine)
        for name, label in spec.series.items()
    }
    top = max((value for each in minutes.values() for value in each if value), default=0.0)
    lines = [
        Line(name=label, pieces=_pieces(each, top), last=_shown(each[-1], shown))
        for label, each in minutes.items()
    ]
    return Chart(
        title=spec.title,
        lines=lines,
        top=shown(top),
        summary="; ".join(f"{line.name}: {line.last}" for line in lines),
        rows=_rows(minutes, spec.combine, shown),
    )


def by_minute(
    times: Sequence[datetime], values: Sequence[float | None], combine: Combine
) -> Sequence[float | None]:
    """Return one number for each of the last 60 minutes, the last minute last. None: nothing is known."""
    found: list[list[float]] = [[] for _ in range(MINUTES)]
    if times:
        end = times[-1]
        for time, value in zip(times, values, strict=False):
            age = (end - time) // timedelta(minutes=1)
            if value is not None and 0 <= age < MINUTES:
                found[MINUTES - 1 - age].append(value)
    return [combine(each) if each else None for each in found]


def _pieces(minutes: Sequence[float | None], top: float) -> Sequence[str]:
    """Return the points of each stretch without a gap. A single point becomes a short line."""
    pieces: list[list[str]] = [[]]
    for number, value in enumerate(minutes):
        if value is None:
            pieces.append([])
            continue
        x = number * WIDTH / (MINUTES - 1)
        y = HEIGHT - 2 - (value / top if top else 0) * (HEIGHT - 4)
        pieces[-1].append(f"{x:.1f},{y:.1f}")
    return [
        " ".join(piece if len(piece) > 1 else [*piece, _beside(piece[0])])
        for piece in pieces
        if piece
    ]


def _beside(point: str) -> str:
    x, _, y = point.partition(",")
    return f"{max(float(x) - 2, 0):.1f},{y}"


def _rows(
    minutes: Mapping[str, Sequence[float | None]], combine: Combine, shown: Callable[[float], str]
) -> Sequence[tuple[str, Sequence[str]]]:
    rows = []
    for start in range(0, MINUTES, _TABLE_MINUTES):
        cells = []
        for each in minutes.values():
            known = [value for value in each[start : start + _TABLE_MINUTES] if value is not None]
            cells.append(_shown(combine(known) if known else None, shown))
        ago = MINUTES - start
        rows.append((f"{ago} to {ago - _TABLE_MINUTES} minutes ago", cells))
    return rows


def _shown(value: float | None, shown: Callable[[float], str]) -> str:
    return "-" if value is None else shown(value)
