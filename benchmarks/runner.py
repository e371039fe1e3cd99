"""Runner of the measures, one after another."""

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.status import Status

from benchmarks.context import BenchContext
from benchmarks.databases import bench_databases
from benchmarks.figures import Figure, Section
from benchmarks.load_client import load_client
from benchmarks.measures import COMPARED, MEASURES, ON_REQUEST
from benchmarks.profile import FULL, QUICK
from benchmarks.report import print_report, to_json
from chatd import __version__, logs
from chatd.domain.errors import ChatdError
from chatd.supervision.child_run import flatten_group

_DEFAULT = {True: [name for name in MEASURES if name not in ON_REQUEST], False: list(COMPARED)}
"""The measures of a run that names none, without and with another installation to compare with."""


def run_measures(
    *, only: Sequence[str], quick: bool, json: bool, database: str | None, compare: str | None
) -> int:
    """Measure and print. Return 1 when something could not be measured. Raises ``ChatdError``."""
    other = None if compare is None else _python_of(compare)
    unknown = [name for name in only if name not in MEASURES]
    if unknown:
        raise ChatdError(f"No measure {', '.join(unknown)}; there are: {', '.join(MEASURES)}.")
    begun, load = time.monotonic(), os.getloadavg()[0]
    server, sections = anyio.run(
        _measure_all,
        only or _DEFAULT[other is None],
        quick,
        database,
        other,
        backend_options={"use_uvloop": True},
    )
    head: dict[str, Any] = {
        "chatd": __version__,
        "python": platform.python_version(),
        "server": server,
        "cores": os.cpu_count(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "quick": quick,
        "compared_with": other,
        "seconds": round(time.monotonic() - begun, 1),
    }
    if json:
        print(to_json(head, sections))
    else:
        print_report(head, sections)
    return int(any(section.error for section in sections))


async def _measure_all(
    only: Sequence[str], quick: bool, database: str | None, other: str | None
) -> tuple[str, list[Section]]:
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="chatd-bench-") as folder:
        log = (Path(folder) / "bench.log").open("w", encoding="utf-8")
        logs.configure(level="info", format="json", stream=log)
        with log, console.status("a place to measure in") as status:
            async with bench_databases(database) as place, load_client() as clients:
                sections = []
                for name in (each for each in MEASURES if each in only):
                    bench = BenchContext(
                        databases=place,
                        clients=clients,
                        folder=Path(folder),
                        profile=QUICK if quick else FULL,
                        report_progress=partial(_show_progress, status, name),
                        other=other,
                    )
                    sections.append(section := await _measure(name, bench))
                    mark = "[red]✗[/red]" if section.error else "[green]✓[/green]"
                    console.print(f"{mark} {name} [dim]{section.seconds:.0f} s[/dim]")
                return place.server, sections


def _python_of(installation: str) -> str:
    """Return the Python of a checkout with a ``.venv``, or the one that was given."""
    path = Path(installation)
    python = path / ".venv/bin/python" if path.is_dir() else path
    if not python.exists():
        raise ChatdError(f"There is no Python at {python}.")
    return str(python.absolute())


def _show_progress(status: Status, name: str, text: str) -> None:
    status.update(f"{name}: {text}")


async def _measure(name: str, context: BenchContext) -> Section:
    title, measure = MEASURES[name]
    begun = time.monotonic()
    figures: Sequence[Figure] = ()
    problem = None
    try:
        figures = await measure(context)
    except Exception as error:  # noqa: BLE001 - the other measures go on, and the report says so
        problem = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in flatten_group(error))
    seconds = time.monotonic() - begun
    return Section(name=name, title=title, seconds=seconds, figures=figures, error=problem)
