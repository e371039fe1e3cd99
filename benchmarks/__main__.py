"""Command line of the benchmarks: ``python -m benchmarks``, in a checkout."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks import run
from chatd.domain.errors import ChatdError

app = App(
    name="python -m benchmarks",
    help="Measure what this machine and database can do.",
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=False),
    help_epilogue="""Prints a table of figures, each with its baseline (the same work without chatd,
measured in the same run) and its target. The model plays a script without a
delay, so the figures are chatd's and PostgreSQL's alone. The measures:

start, round-trips, turns, wake, histories, parts, adapters, memory, claims, heartbeats, takeover, tenants,
scale

Takes under four minutes. Without --database it starts a PostgreSQL of its own
(the extra 'embedded'), which does not fsync. With it, it creates databases of
its own on that server and drops them; the given one is left as it is.

Examples:
  python -m benchmarks
  python -m benchmarks --quick --only turns,round-trips
  python -m benchmarks --compare ../chatd-before --only turns,parts
  python -m benchmarks --database postgresql:///postgres --json > figures.json

Exit code 1: something could not be measured. A figure that misses its target
is marked, and does not change the exit code.""",
)


@app.default
def main(
    *,
    only: Annotated[str, Parameter(help="Measures, separated by commas. Default: all.")] = "",
    quick: Annotated[bool, Parameter(help="Measure for a shorter time: under 40 s.")] = False,
    json: Annotated[bool, Parameter(help="Print one JSON document.")] = False,
    compare: Annotated[
        str | None,
        Parameter(help="Another checkout with a .venv, or a Python, to run beside this one."),
    ] = None,
    database: Annotated[
        str | None, Parameter(help="A postgresql:// URL of a server to measure on.")
    ] = None,
) -> int:
    """Measure what this machine and database can do."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    try:
        return run(only=names, quick=quick, json=json, database=database, compare=compare)
    except ChatdError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(app())
