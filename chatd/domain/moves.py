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

from chatd.domain.chat import ARCHIVABLE, Busy, Status


class Move(StrEnum):
    CREATE = "create"
    SEND = "send"
    INTERRUPT = "interrupt"
    SUBMIT_TOOL_RESULTS = "submit_tool_results"
    EDIT = "edit"
    UNQUEUE = "unqueue"
    PROMOTE = "promote"
    RETRY = "retry"
    CLEAR = "clear"
    DESCRIBE = "describe"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    ACQUIRE = "acquire"
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


OWNER_MOVES: Final = frozenset(
    {
        Move.COMMIT_STEP,
        Move.RECORD_RETRY,
        Move.REQUIRE_ACTION,
        Move.FINISH_TURN,
        Move.FINISH_INTERRUPT,
        Move.FAIL,
        Move.RELEASE,
    }
)
"""Moves that only the chat's owner makes, fenced by worker and epoch."""


@dataclass(frozen=True, slots=True)
class To:
    """Where a move leads.

    ``queued`` is where it leads when messages are queued, ``given_up`` where it leads when the chat
    crashed too often, ``silent`` where it leads when nothing is said with it; None: to ``status`` all
    the same. A move that does not ``count`` is allowed but changes nothing: no new version, no row in
    the journal.
    """

    status: Status
    queued: Status | None = None
    given_up: Status | None = None
    silent: Status | None = None
    counts: bool = True

    @property
    def ends(self) -> frozenset[Status]:
        """Everywhere it may lead."""
        ways = (self.status, self.queued, self.given_up, self.silent)
        return frozenset(status for status in ways if status is not None)


_W, _P, _R = Status.WAITING, Status.PENDING, Status.RUNNING
_I, _A, _E = Status.INTERRUPTING, Status.REQUIRES_ACTION, Status.ERROR

Cells = Mapping[Status | None, To]

_SAME: Final[Cells] = {status: To(status) for status in Status}
_BUSY_OR_FAILED: Final[Cells] = {status: To(status) for status in Status if status is not _W}
_AT_REST: Final[Cells] = {status: To(status) for status in sorted(ARCHIVABLE)}
_FROM_REST: Final[Cells] = {_W: To(_P), _E: To(_P)}

TABLE: Final[Mapping[tuple[Move, Busy | None], Cells]] = {
    (Move.CREATE, None): {None: To(_P, silent=_W)},
    (Move.SEND, Busy.QUEUE): {**_SAME, **_FROM_REST},
    (Move.SEND, Busy.INTERRUPT): {**_SAME, **_FROM_REST, _R: To(_I), _A: To(_P)},
    (Move.SEND, Busy.REJECT): _FROM_REST,
    (Move.INTERRUPT, None): {
        _R: To(_I),
        _P: To(_W, queued=_P),
        _A: To(_W, queued=_P),
        _I: To(_I, counts=False),
        _W: To(_W, counts=False),
        _E: To(_E, counts=False),
    },
    (Move.SUBMIT_TOOL_RESULTS, None): {_A: To(_P)},
    (Move.EDIT, None): {status: To(_P) for status in Status},
    (Move.UNQUEUE, None): _BUSY_OR_FAILED,
    (Move.PROMOTE, None): {_P: To(_P), _R: To(_I), _I: To(_I), _A: To(_P), _E: To(_P)},
    (Move.RETRY, None): {_E: To(_P)},
    (Move.CLEAR, None): {_W: To(_W), _E: To(_W)},
    (Move.DESCRIBE, None): _SAME,
    (Move.ARCHIVE, None): _AT_REST,
    (Move.UNARCHIVE, None): _AT_REST,
    (Move.ACQUIRE, None): {_P: To(_R)},
    (Move.COMMIT_STEP, None): {_R: To(_R)},
    (Move.RECORD_RETRY, None): {_R: To(_R)},
    (Move.REQUIRE_ACTION, None): {_R: To(_A)},
    (Move.FINISH_TURN, None): {_R: To(_W, queued=_R)},
    (Move.FINISH_INTERRUPT, None): {_I: To(_W, queued=_R)},
    (Move.FAIL, None): {_R: To(_E)},
    (Move.RELEASE, None): {_R: To(_P)},
    (Move.REAP, None): {_R: To(_P, given_up=_E)},
    (Move.REAP_INTERRUPT, None): {_I: To(_W, queued=_P)},
    (Move.EXPIRE_ACTION, None): {_A: To(_P)},
}
"""(move, what a message does when the chat is busy) → from → to. A cell that is missing is refused."""


def target(
    move: Move,
    status: Status | None,
    *,
    busy: Busy | None = None,
    queued: bool = False,
    given_up: bool = False,
    silent: bool = False,
) -> Status | None:
    """Where ``move`` leads from ``status``; None when the table refuses it."""
    cell = TABLE[move, busy].get(status)
    if cell is None:
        return None
    if silent and cell.silent is not None:
        return cell.silent
    if given_up and cell.given_up is not None:
        return cell.given_up
    if queued and cell.queued is not None:
        return cell.queued
    return cell.status
