"""The table of moves: every legal change of a chat, and nothing else.

A move is one transaction that locks the chat's row, checks this table, adds one to ``version``,
writes, and appends one row to the journal. The store has one method per move; its tests are
generated from ``TABLE`` and cover every (move, status) cell, also each that must be refused.
Deleting a chat is no move: it is legal from everywhere, and leaves no row that could be written to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chatd.domain.chat import IDLE, BusyBehavior, Status


class Transition(StrEnum):
    CREATE = "create"
    SEND = "send"
    INTERRUPT = "interrupt"
    SUBMIT_TOOL_RESULTS = "submit_tool_results"
    EDIT = "edit"
    REMOVE_QUEUED = "remove_queued"
    PROMOTE = "promote"
    RETRY = "retry"
    CLEAR = "clear"
    DESCRIBE = "describe"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    CLAIM = "claim"
    COMMIT_STEP = "commit_step"
    RECORD_RETRY = "record_retry"
    REQUIRE_ACTION = "require_action"
    FINISH_TURN = "finish_turn"
    FINISH_INTERRUPT = "finish_interrupt"
    FAIL = "fail"
    RELEASE = "release"
    REAP = "reap"
    REAP_INTERRUPT = "reap_interrupt"
    EXPIRE_ACTION = "expire_action"


WORKER_TRANSITIONS: Final = frozenset(
    {
        Transition.COMMIT_STEP,
        Transition.RECORD_RETRY,
        Transition.REQUIRE_ACTION,
        Transition.FINISH_TURN,
        Transition.FINISH_INTERRUPT,
        Transition.FAIL,
        Transition.RELEASE,
    }
)
"""Moves that only the chat's owner makes, fenced by worker and epoch."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a move leads.

    ``queued`` is where it leads when messages are queued, ``given_up`` where it leads when the chat
    crashed too often, ``without_message`` where it leads when nothing is said with it; None: to ``status`` all
    the same. A move that does not ``count`` is allowed but changes nothing: no new version, no row in
    the journal.
    """

    status: Status
    when_queued: Status | None = None
    when_exhausted: Status | None = None
    without_message: Status | None = None
    journaled: bool = True

    @property
    def statuses(self) -> frozenset[Status]:
        """Everywhere it may lead."""
        ways = (self.status, self.when_queued, self.when_exhausted, self.without_message)
        return frozenset(status for status in ways if status is not None)


_W, _P, _R = Status.WAITING, Status.PENDING, Status.RUNNING
_I, _A, _E = Status.INTERRUPTING, Status.REQUIRES_ACTION, Status.ERROR

Targets = Mapping[Status | None, Target]

_UNCHANGED: Final[Targets] = {status: Target(status) for status in Status}
_NOT_WAITING: Final[Targets] = {status: Target(status) for status in Status if status is not _W}
_IDLE_UNCHANGED: Final[Targets] = {status: Target(status) for status in sorted(IDLE)}
_IDLE_TO_PENDING: Final[Targets] = {_W: Target(_P), _E: Target(_P)}

TABLE: Final[Mapping[tuple[Transition, BusyBehavior | None], Targets]] = {
    (Transition.CREATE, None): {None: Target(_P, without_message=_W)},
    (Transition.SEND, BusyBehavior.QUEUE): {**_UNCHANGED, **_IDLE_TO_PENDING},
    (Transition.SEND, BusyBehavior.INTERRUPT): {
        **_UNCHANGED,
        **_IDLE_TO_PENDING,
        _R: Target(_I),
        _A: Target(_P),
    },
    (Transition.SEND, BusyBehavior.REJECT): _IDLE_TO_PENDING,
    (Transition.INTERRUPT, None): {
        _R: Target(_I),
        _P: Target(_W, when_queued=_P),
        _A: Target(_W, when_queued=_P),
        _I: Target(_I, journaled=False),
        _W: Target(_W, journaled=False),
        _E: Target(_E, journaled=False),
    },
    (Transition.SUBMIT_TOOL_RESULTS, None): {_A: Target(_P)},
    (Transition.EDIT, None): {status: Target(_P) for status in Status},
    (Transition.REMOVE_QUEUED, None): _NOT_WAITING,
    (Transition.PROMOTE, None): {
        _P: Target(_P),
        _R: Target(_I),
        _I: Target(_I),
        _A: Target(_P),
        _E: Target(_P),
    },
    (Transition.RETRY, None): {_E: Target(_P)},
    (Transition.CLEAR, None): {_W: Target(_W), _E: Target(_W)},
    (Transition.DESCRIBE, None): _UNCHANGED,
    (Transition.ARCHIVE, None): _IDLE_UNCHANGED,
    (Transition.UNARCHIVE, None): _IDLE_UNCHANGED,
    (Transition.CLAIM, None): {_P: Target(_R)},
    (Transition.COMMIT_STEP, None): {_R: Target(_R)},
    (Transition.RECORD_RETRY, None): {_R: Target(_R)},
    (Transition.REQUIRE_ACTION, None): {_R: Target(_A)},
    (Transition.FINISH_TURN, None): {_R: Target(_W, when_queued=_R)},
    (Transition.FINISH_INTERRUPT, None): {_I: Target(_W, when_queued=_R)},
    (Transition.FAIL, None): {_R: Target(_E)},
    (Transition.RELEASE, None): {_R: Target(_P)},
    (Transition.REAP, None): {_R: Target(_P, when_exhausted=_E)},
    (Transition.REAP_INTERRUPT, None): {_I: Target(_W, when_queued=_P)},
    (Transition.EXPIRE_ACTION, None): {_A: Target(_P)},
}
"""(move, what a message does when the chat is busy) → from → to. A cell that is missing is refused."""


def target_status(
    transition: Transition,
    status: Status | None,
    *,
    busy: BusyBehavior | None = None,
    has_queue: bool = False,
    exhausted: bool = False,
    without_message: bool = False,
) -> Status | None:
    """Where ``transition`` leads from ``status``; None when the table refuses it."""
    cell = TABLE[transition, busy].get(status)
    if cell is None:
        return None
    if without_message and cell.without_message is not None:
        return cell.without_message
    if exhausted and cell.when_exhausted is not None:
        return cell.when_exhausted
    if has_queue and cell.when_queued is not None:
        return cell.when_queued
    return cell.status
