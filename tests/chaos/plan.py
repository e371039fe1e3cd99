"""The faults of a run: which, when, where and for how long. A function of the seed alone."""

import random
from dataclasses import dataclass
from enum import StrEnum

REPLICAS = ("a", "b", "c")


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "SIGKILL"
    TERMINATE = "SIGTERM"
    PAUSE = "SIGSTOP past the lease"
    RELOAD = "SIGHUP"
    CUT_ALL = "all database connections of a replica cut"
    CUT_ONE = "one database connection cut"
    LOSE_RESULTS = "results of a database connection lost"
    BLACK_HOLE = "database connections black-holed"
    SLOW = "database connections slow"
    DROP_HINTS = "notifications lost"
    DOUBLE_HINTS = "notifications doubled"
    REORDER_HINTS = "notifications reordered"
    TERMINATE_BACKENDS = "database backends terminated"
    LOCK_CHAT = "row of a chat locked"
    RESTART_FAST = "PostgreSQL restarted, fast"
    RESTART_IMMEDIATE = "PostgreSQL restarted, immediate"
    DENY_LOGIN = "role may not log in"
    MODEL_REFUSED = "model: connections refused"
    MODEL_RATE_LIMIT = "model: 429 with Retry-After"
    MODEL_OVERLOADED = "model: 500"
    MODEL_REJECTS = "model: 400"
    MODEL_TOO_LONG = "model: context length exceeded"
    MODEL_CUT = "model: stream cut"
    MODEL_RESET = "model: connection reset"
    MODEL_SILENT = "model: silence"
    MODEL_GARBAGE = "model: garbage"
    MODEL_EMPTY = "model: empty answer"
    MODEL_SLOW = "model: slow"
    TOOLS_KILLED = "tools: SIGKILL of their server"
    TOOLS_STOPPED = "tools: SIGSTOP of their server"
    TOOLS_SLOW = "tools: slow"
    MCP_KILLED = "MCP: SIGKILL of a program"
    MCP_STOPPED = "MCP: SIGSTOP of a program"
    RESET_CLIENTS = "connections of clients reset"
    LOSE_RESPONSE = "response of a request lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: ``at`` and ``seconds`` after the start of the run, and a seed for what it chooses."""

    at: float
    kind: Kind
    replica: str
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """How often a kind comes, how long it lasts, and for how long nothing like it follows.

    ``rests`` is the time, after its end, without another fault of a process of the same replica
    (``of_replica``) or of the server.
    """

    weight: float
    seconds: tuple[float, float] = (0.0, 0.0)
    rests: float = 0.0
    of_replica: bool = True


LEASE_SECONDS = 9.0

WEIGHTS: dict[Kind, Weight] = {
    Kind.KILL: Weight(weight=1.6, seconds=(0.2, 2.5), rests=25.0),
    Kind.TERMINATE: Weight(weight=1.2, seconds=(0.2, 2.0), rests=25.0),
    Kind.PAUSE: Weight(weight=0.8, seconds=(LEASE_SECONDS + 0.5, LEASE_SECONDS + 4.0), rests=20.0),
    Kind.RELOAD: Weight(weight=2.0),
    Kind.CUT_ALL: Weight(weight=2.0, rests=4.0),
    Kind.CUT_ONE: Weight(weight=6.0, of_replica=False),
    Kind.LOSE_RESULTS: Weight(weight=4.0, seconds=(0.1, 0.6), of_replica=False),
    Kind.BLACK_HOLE: Weight(weight=0.8, seconds=(1.0, LEASE_SECONDS + 3.0), rests=20.0),
    Kind.SLOW: Weight(weight=1.5, seconds=(1.0, 4.0), rests=8.0),
    Kind.DROP_HINTS: Weight(weight=6.0),
    Kind.DOUBLE_HINTS: Weight(weight=5.0),
    Kind.REORDER_HINTS: Weight(weight=5.0),
    Kind.TERMINATE_BACKENDS: Weight(weight=2.0, rests=6.0, of_replica=False),
    Kind.LOCK_CHAT: Weight(weight=3.0, seconds=(0.5, 5.0)),
    Kind.RESTART_FAST: Weight(weight=0.6, seconds=(0.0, 2.0), rests=25.0, of_replica=False),
    Kind.RESTART_IMMEDIATE: Weight(weight=0.6, seconds=(0.0, 2.0), rests=25.0, of_replica=False),
    Kind.DENY_LOGIN: Weight(weight=0.8, seconds=(1.0, 5.0), rests=25.0, of_replica=False),
    Kind.MODEL_REFUSED: Weight(weight=2.0, seconds=(0.3, 1.5)),
    Kind.MODEL_RATE_LIMIT: Weight(weight=6.0),
    Kind.MODEL_OVERLOADED: Weight(weight=6.0),
    Kind.MODEL_REJECTS: Weight(weight=3.0),
    Kind.MODEL_TOO_LONG: Weight(weight=2.0),
    Kind.MODEL_CUT: Weight(weight=6.0),
    Kind.MODEL_RESET: Weight(weight=5.0),
    Kind.MODEL_SILENT: Weight(weight=4.0),
    Kind.MODEL_GARBAGE: Weight(weight=5.0),
    Kind.MODEL_EMPTY: Weight(weight=3.0),
    Kind.MODEL_SLOW: Weight(weight=4.0),
    Kind.TOOLS_KILLED: Weight(weight=1.0, seconds=(0.0, 1.5)),
    Kind.TOOLS_STOPPED: Weight(weight=2.0, seconds=(0.5, 5.0)),
    Kind.TOOLS_SLOW: Weight(weight=3.0, seconds=(0.5, 6.0)),
    Kind.MCP_KILLED: Weight(weight=1.0),
    Kind.MCP_STOPPED: Weight(weight=1.5, seconds=(0.5, 6.0)),
    Kind.RESET_CLIENTS: Weight(weight=12.0),
    Kind.LOSE_RESPONSE: Weight(weight=14.0),
}
"""The kinds by weight. Kinds that stop a process or the server are rare, so that work goes on."""


def plan(
    seed: int, seconds: float, per_minute: float, only: frozenset[Kind] = frozenset(Kind)
) -> list[Fault]:
    """Return the faults of a run of ``seconds``, in order, of all kinds or of some."""
    choose = random.Random(seed)
    kinds = [kind for kind in WEIGHTS if kind in only]
    weights = [WEIGHTS[kind].weight for kind in kinds]
    quiet_until = dict.fromkeys((*REPLICAS, "server"), 0.0)
    faults: list[Fault] = []
    at = 0.0
    while (at := at + choose.expovariate(per_minute / 60)) < seconds:
        kind = choose.choices(kinds, weights)[0]
        weight = WEIGHTS[kind]
        replica = choose.choice(REPLICAS)
        lasts = round(choose.uniform(*weight.seconds), 3)
        subject = replica if weight.of_replica else "server"
        fault_seed = choose.getrandbits(32)
        if weight.rests:
            if quiet_until[subject] > at:
                continue
            quiet_until[subject] = at + lasts + weight.rests
        faults.append(
            Fault(at=round(at, 3), kind=kind, replica=replica, seconds=lasts, seed=fault_seed)
        )
    return faults
