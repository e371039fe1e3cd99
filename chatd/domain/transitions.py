"""The table of transitions: every legal change of a chat, and nothing else.

A transition is one transaction that locks the chat's row, checks this table, adds one to ``version``,
writes, and appends one entry to the journal. The store has one command per transition. Its tests are
generated from ``TABLE`` and cover every (transition, status) cell, each refusal included.
Deleting a chat is no transition: it is legal from everywhere, and leaves no row that could be written to.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, auto
from typing import Final

from chatd.domain.chat import IDLE, BusyBehavior, Status
from chatd.domain.outcomes import LossReason
from chatd.domain.stored_word import StoredWord


class Transition(StoredWord):
    """A legal change of a chat."""

    CREATE = "create"
    FORK = "fork"
    SEND = "send"
    INTERRUPT = "interrupt"
    ANSWER_ACTION = "answer_action"
    SUBMIT_TOOL_RESULTS = "submit_tool_results"
    EDIT = "edit"
    REGENERATE = "regenerate"
    REMOVE_QUEUED = "remove_queued"
    PROMOTE = "promote"
    RETRY = "retry"
    APPEND = "append"
    CLEAR = "clear"
    SET_TITLE = "set_title"
    REQUEST_COMPACTION = "request_compaction"
    DESCRIBE = "describe"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    CLAIM = "claim"
    COMMIT_STEP = "commit_step"
    CLOSE_CALLS = "close_calls"
    COMPACT = "compact"
    RECORD_RETRY = "record_retry"
    DEFER = "defer"
    REQUIRE_ACTION = "require_action"
    PARK = "park"
    FINISH_TURN = "finish_turn"
    FINISH_INTERRUPT = "finish_interrupt"
    FAIL = "fail"
    RELEASE = "release"
    REAP = "reap"
    REAP_INTERRUPT = "reap_interrupt"
    EXPIRE_ACTION = "expire_action"
    WAKE = "wake"
    FAIL_UNSERVED = "fail_unserved"

    @property
    def rule(self) -> "Rule":
        """The transition's row in the table. One of a newer version has none, and gets an empty rule."""
        return RULES.get(self, UNKNOWN_RULE)


class Actor(Enum):
    """A kind of actor that makes transitions."""

    CALLER = auto()
    CLAIMER = auto()
    WORKER = auto()
    """The worker that holds the chat's lease. Its writes are fenced by worker and epoch."""
    REAPER = auto()
    TITLER = auto()
    """Any worker. It needs no lease, since no turn reads what it writes."""


@dataclass(frozen=True, slots=True)
class Target:
    """The status that a transition leads to.

    ``when_queued`` replaces ``status`` when messages are queued, ``when_exhausted`` when the chat lost too
    many workers, ``without_message`` when the caller sends no message along, ``when_asking`` when calls are
    still to be answered. A transition that is not
    ``journaled`` is allowed but changes nothing: no new version, no journal entry.
    """

    status: Status
    when_queued: Status | None = None
    when_exhausted: Status | None = None
    without_message: Status | None = None
    when_asking: Status | None = None
    journaled: bool = True

    @property
    def statuses(self) -> frozenset[Status]:
        """Every status that the transition may lead to."""
        targets = (
            self.status,
            self.when_queued,
            self.when_exhausted,
            self.without_message,
            self.when_asking,
        )
        return frozenset(status for status in targets if status is not None)


Targets = Mapping[Status | None, Target]
"""Targets by the status before; None is a chat that does not exist. A missing status is refused."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: who makes a transition, from where to where, and its effects.

    A transition whose targets depend on the busy behavior of its message has ``targets_when_busy``
    instead of ``targets``.
    """

    actor: Actor
    targets: Targets = field(default_factory=dict)
    _: KW_ONLY
    targets_when_busy: Mapping[BusyBehavior, Targets] = field(default_factory=dict)
    keeps_status: bool = False
    """The status is the same before and after, so streams send no ``status`` event."""
    commits_preview: bool = False
    """A message replaces the live parts. If the transition stores none, they are void."""
    discards_preview: bool = False
    """The live parts will not become a message."""
    loss_reason: LossReason | None = None
    """The reason why the worker that held the chat lost it by this transition."""

    @property
    def keeps_asking(self) -> bool:
        """True if the chat may go on to wait for answers."""
        return any(target.when_asking for target in self.targets.values())

    @property
    def variants(self) -> Mapping[BusyBehavior | None, Targets]:
        """The targets by busy behavior; None for a transition that has none."""
        return dict(self.targets_when_busy.items()) or {None: self.targets}


_W, _P, _R = Status.WAITING, Status.PENDING, Status.RUNNING
_I, _A, _E = Status.INTERRUPTING, Status.REQUIRES_ACTION, Status.ERROR
_K = Status.PARKED

_UNCHANGED: Final[Targets] = {status: Target(status) for status in Status}
_NOT_WAITING: Final[Targets] = {status: Target(status) for status in Status if status is not _W}
_IDLE_UNCHANGED: Final[Targets] = {status: Target(status) for status in sorted(IDLE)}
_IDLE_TO_PENDING: Final[Targets] = {_W: Target(_P), _E: Target(_P)}

RULES: Final[Mapping[Transition, Rule]] = {
    Transition.CREATE: Rule(Actor.CALLER, {None: Target(_P, without_message=_W)}),
    Transition.FORK: Rule(Actor.CALLER, {None: Target(_W)}),
    Transition.SEND: Rule(
        Actor.CALLER,
        targets_when_busy={
            BusyBehavior.QUEUE: {**_UNCHANGED, **_IDLE_TO_PENDING},
            BusyBehavior.INTERRUPT: {
                **_UNCHANGED,
                **_IDLE_TO_PENDING,
                _R: Target(_I),
                _A: Target(_P),
                _K: Target(_P),
            },
            BusyBehavior.REJECT: _IDLE_TO_PENDING,
        },
    ),
    Transition.INTERRUPT: Rule(
        Actor.CALLER,
        {
            _R: Target(_I),
            _P: Target(_W, when_queued=_P),
            _A: Target(_W, when_queued=_P),
            _K: Target(_W, when_queued=_P),
            _I: Target(_I, journaled=False),
            _W: Target(_W, journaled=False),
            _E: Target(_E, journaled=False),
        },
    ),
    Transition.ANSWER_ACTION: Rule(Actor.CALLER, {_A: Target(_P, when_asking=_A)}),
    Transition.SUBMIT_TOOL_RESULTS: Rule(Actor.CALLER, {_A: Target(_P, when_asking=_A)}),
    Transition.EDIT: Rule(
        Actor.CALLER,
        {status: Target(_P) for status in Status},
        loss_reason=LossReason.EDITED,
    ),
    Transition.REGENERATE: Rule(
        Actor.CALLER,
        {status: Target(_P) for status in Status},
        loss_reason=LossReason.EDITED,
    ),
    Transition.REMOVE_QUEUED: Rule(Actor.CALLER, _NOT_WAITING, keeps_status=True),
    Transition.PROMOTE: Rule(
        Actor.CALLER,
        {
            _P: Target(_P),
            _R: Target(_I),
            _I: Target(_I),
            _A: Target(_P),
            _K: Target(_P),
            _E: Target(_P),
        },
    ),
    Transition.RETRY: Rule(Actor.CALLER, {_E: Target(_P)}),
    Transition.APPEND: Rule(Actor.CALLER, _IDLE_UNCHANGED, keeps_status=True),
    Transition.CLEAR: Rule(Actor.CALLER, {_W: Target(_W), _E: Target(_W)}),
    Transition.REQUEST_COMPACTION: Rule(Actor.CALLER, {**_UNCHANGED, **_IDLE_TO_PENDING}),
    Transition.SET_TITLE: Rule(Actor.TITLER, _UNCHANGED, keeps_status=True),
    Transition.DESCRIBE: Rule(Actor.CALLER, _UNCHANGED, keeps_status=True),
    Transition.ARCHIVE: Rule(Actor.CALLER, _IDLE_UNCHANGED, keeps_status=True),
    Transition.UNARCHIVE: Rule(Actor.CALLER, _IDLE_UNCHANGED, keeps_status=True),
    Transition.CLAIM: Rule(Actor.CLAIMER, {_P: Target(_R)}),
    Transition.COMMIT_STEP: Rule(
        Actor.WORKER, {_R: Target(_R)}, keeps_status=True, commits_preview=True
    ),
    Transition.CLOSE_CALLS: Rule(
        Actor.WORKER, {_R: Target(_R)}, keeps_status=True, commits_preview=True
    ),
    Transition.COMPACT: Rule(
        Actor.WORKER, {_R: Target(_R)}, keeps_status=True, discards_preview=True
    ),
    Transition.RECORD_RETRY: Rule(
        Actor.WORKER, {_R: Target(_R)}, keeps_status=True, discards_preview=True
    ),
    Transition.DEFER: Rule(Actor.WORKER, {_R: Target(_P)}, discards_preview=True),
    Transition.REQUIRE_ACTION: Rule(Actor.WORKER, {_R: Target(_A)}, commits_preview=True),
    Transition.PARK: Rule(Actor.WORKER, {_R: Target(_K)}, commits_preview=True),
    Transition.FINISH_TURN: Rule(
        Actor.WORKER, {_R: Target(_W, when_queued=_R)}, commits_preview=True
    ),
    Transition.FINISH_INTERRUPT: Rule(
        Actor.WORKER, {_I: Target(_W, when_queued=_R)}, commits_preview=True
    ),
    Transition.FAIL: Rule(Actor.WORKER, {_R: Target(_E)}, discards_preview=True),
    Transition.RELEASE: Rule(Actor.WORKER, {_R: Target(_P)}, discards_preview=True),
    Transition.REAP: Rule(
        Actor.REAPER,
        {_R: Target(_P, when_exhausted=_E)},
        discards_preview=True,
        loss_reason=LossReason.REAPED,
    ),
    Transition.REAP_INTERRUPT: Rule(
        Actor.REAPER,
        {_I: Target(_W, when_queued=_P)},
        commits_preview=True,
        loss_reason=LossReason.REAPED,
    ),
    Transition.EXPIRE_ACTION: Rule(Actor.REAPER, {_A: Target(_P, when_asking=_A)}),
    Transition.WAKE: Rule(Actor.REAPER, {_K: Target(_P)}),
    Transition.FAIL_UNSERVED: Rule(Actor.REAPER, {_P: Target(_E)}),
}
"""The table, by transition."""

UNKNOWN_RULE: Final = Rule(Actor.CALLER)
"""The rule of a transition that a newer version made: this one makes it from no status."""

TABLE: Final[Mapping[tuple[Transition, BusyBehavior | None], Targets]] = {
    (transition, busy): targets
    for transition, rule in RULES.items()
    for busy, targets in rule.variants.items()
}
"""The targets of the table, by transition and busy behavior."""

WORKER_TRANSITIONS: Final = frozenset(
    transition for transition, rule in RULES.items() if rule.actor is Actor.WORKER
)


def target_status(
    transition: Transition,
    status: Status | None,
    *,
    busy: BusyBehavior | None = None,
    has_queue: bool = False,
    exhausted: bool = False,
    without_message: bool = False,
    asking: bool = False,
) -> Status | None:
    """Return where ``transition`` leads from ``status``; None when the table refuses it."""
    target = TABLE[transition, busy].get(status)
    if target is None:
        return None
    if without_message and target.without_message is not None:
        return target.without_message
    if asking and target.when_asking is not None:
        return target.when_asking
    if exhausted and target.when_exhausted is not None:
        return target.when_exhausted
    if has_queue and target.when_queued is not None:
        return target.when_queued
    return target.status
