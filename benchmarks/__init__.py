"""Benchmarks: what this machine, this PostgreSQL and this chatd can do (``python -m benchmarks``).

The model plays a script without a delay, so every figure is chatd's and PostgreSQL's alone. Next to
a rate stands its *floor*: the same work without chatd, measured in the same run in alternating
rounds, so that the ratio says what chatd costs also on a machine that is busy with other things.

::

    load (a process of its own)  ──HTTP──▶  chatd run (a process)  ──▶  wire  ──▶  PostgreSQL
       │  posts, follows streams                                     counts messages
       └──────────────HTTP──▶  floor_app (a process): FastAPI, the same statements, no chatd

Where a figure needs to see inside (when the model is called, when it says a part), the daemon runs in
the process of the bench and the clients still come over HTTP; moments in different processes compare,
because the monotonic clock is the machine's.

It never touches data that is there: it works in databases of its own, made beside the one it is
given and dropped at the end, or in an embedded server that is thrown away.

What each failure does: a measure that breaks is reported as such and the others go on; the exit code
is then 1. A figure that misses its requirement is marked ✗ and does not change the exit code.
"""

from collections.abc import Sequence


def run(
    *, only: Sequence[str] = (), quick: bool = False, json: bool = False, database: str | None
) -> int:
    """Measure, print, and return the exit code. ``only`` names measures; none means all."""
    from benchmarks.runner import run_measures  # noqa: PLC0415  (the load process needs none of it)

    return run_measures(only=only, quick=quick, json=json, database=database)
