"""Benchmarks: what this machine, this PostgreSQL and this chatd can do (``python -m benchmarks``).

The model plays a script without a delay, so every figure is chatd's and PostgreSQL's alone. Next to
a rate stands its *baseline*: the same work without chatd, measured in the same run in alternating
rounds, so that the ratio shows what chatd costs even on a machine that is busy with other things.

::

    load (a process of its own)  ──HTTP──▶  chatd run (a process)  ──▶  proxy  ──▶  PostgreSQL
       │  posts, follows streams                                     counts statements
       └──────────────HTTP──▶  baseline_app (a process): FastAPI, the same statements, no chatd

Where a figure needs data from inside (when the model is called, when it streams a part), the daemon runs
in the benchmark's process and the clients still use HTTP. Times of different processes can be compared,
because they use the machine's one monotonic clock.

Existing data is never used: the benchmarks create databases of their own, beside the given one, and drop
them at the end, or start a temporary embedded server.

Failures: a measure that fails is reported and the others go on; the exit code is then 1. A figure that
misses its target is marked ✗ and does not change the exit code.
"""

from collections.abc import Sequence


def run(
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    json: bool = False,
    database: str | None,
    compare: str | None = None,
) -> int:
    """Measure, print, and return the exit code. ``only`` names measures; none means all.

    ``compare`` is another installation: the figures of those measures that can have it as baseline.
    """
    from benchmarks.runner import run_measures  # noqa: PLC0415  (the load process needs none of it)

    return run_measures(only=only, quick=quick, json=json, database=database, compare=compare)
