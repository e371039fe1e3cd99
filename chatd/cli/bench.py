"""``chatd bench``: figures that a person can repeat. ``benchmarks`` measures."""

from importlib import import_module
from typing import Annotated

from cyclopts import App, Parameter

from chatd.cli.options import Flag
from chatd.cli.output import Json

app = App(
    name="bench",
    help_epilogue="""Prints a table of figures, each with the floor under it (the same work without
chatd, measured in the same run) and its target. The model
plays a script without a delay, so the figures are chatd's and PostgreSQL's
alone. The measures:

start, round-trips, turns, wake, parts, memory, claims, heartbeats, takeover

Takes under three minutes. Without --database it starts a PostgreSQL of its own
(the extra 'embedded'), which does not fsync. With it, it makes databases of its
own on that server and drops them; the given one is left as it is.

Examples:
  chatd bench
  chatd bench --quick --only turns,round-trips
  chatd bench --database postgresql:///postgres --json > figures.json

Exit code 1: something could not be measured. A figure that misses its
target is marked, and does not change the exit code.""",
)


@app.default
def bench(
    *,
    only: Annotated[
        str, Parameter(show_default=False, help="Measures, separated by commas. Default: all.")
    ] = "",
    quick: Annotated[Flag, Parameter(help="Measure for a shorter time: under 40 s.")] = False,
    json: Json = False,
    database: Annotated[
        str | None, Parameter(help="A postgresql:// URL of a server to measure on.")
    ] = None,
) -> int:
    """Measure what this machine and database can do."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    measure = import_module("benchmarks").run
    return int(measure(only=names, quick=quick, json=json, database=database))
