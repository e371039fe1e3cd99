"""The measures, by the names that ``--only`` takes, in the order in which they run.

Each is a function from a ``BenchContext`` to figures, with databases and processes of its own, so that
any of them can be run alone and none depends on what another left.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure
from benchmarks.measures import (
    claims,
    heartbeats,
    memory,
    parts,
    round_trips,
    start,
    takeover,
    turns,
    wake,
)

Measure = Callable[[BenchContext], Awaitable[Sequence[Figure]]]

MEASURES: Mapping[str, tuple[str, Measure]] = {
    "start": ("Starting", start.measure),
    "round-trips": ("What a turn asks of PostgreSQL", round_trips.measure),
    "turns": ("Turns per second, and the first word", turns.measure),
    "wake": ("From a POST to the call of the model", wake.measure),
    "parts": ("From the model's word to the reader's", parts.measure),
    "memory": ("What chats cost that do nothing", memory.measure),
    "claims": ("Claiming", claims.measure),
    "heartbeats": ("Renewing", heartbeats.measure),
    "takeover": ("Taking over from the dead", takeover.measure),
}
