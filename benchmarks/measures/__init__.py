"""The measures, by the names that ``--only`` takes, in the order in which they run.

Each is a function from a ``BenchContext`` to figures, with databases and processes of its own, so that
any of them can be run alone and none depends on another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks.context import BenchContext
from benchmarks.figures import Figure
from benchmarks.measures import (
    adapters,
    claims,
    heartbeats,
    histories,
    memory,
    parts,
    round_trips,
    scale,
    start,
    takeover,
    tenants,
    turns,
    wake,
)

Measure = Callable[[BenchContext], Awaitable[Sequence[Figure]]]

MEASURES: Mapping[str, tuple[str, Measure]] = {
    "start": ("Start", start.measure),
    "round-trips": ("Round trips per turn", round_trips.measure),
    "turns": ("Turns per second, and time to the first part", turns.measure),
    "wake": ("Time from a POST to the model call", wake.measure),
    "histories": ("Turns of long chats", histories.measure),
    "parts": ("Cost and delay of parts", parts.measure),
    "adapters": ("Cost of a turn through an adapter", adapters.measure),
    "memory": ("Cost of idle chats", memory.measure),
    "claims": ("Claims", claims.measure),
    "heartbeats": ("Heartbeats", heartbeats.measure),
    "takeover": ("Takeover", takeover.measure),
    "tenants": ("One owner at every limit, beside another", tenants.measure),
    "scale": ("Statements beside many idle chats", scale.measure),
}

ON_REQUEST = frozenset({"scale"})
"""Measures that run only when they are named, because they take many minutes."""

COMPARED = ("turns", "histories", "parts", "memory")
"""The measures that can compare two installations: their figures have the other one as baseline."""
