"""The table of moves by itself: what it may and may not say, whoever reads it."""

from itertools import product

import pytest

from chatd.domain.chat import ARCHIVABLE, OWNED, Busy, Status
from chatd.domain.moves import OWNER_MOVES, TABLE, Move, To, target

REST = {Status.WAITING, Status.ERROR}
CELLS = [
    pytest.param(move, busy, status, to, id=f"{move}-{busy}-{status}")
    for (move, busy), cells in TABLE.items()
    for status, to in cells.items()
]
BY_NOBODY = {Move.ACQUIRE, Move.REAP, Move.REAP_INTERRUPT, Move.EXPIRE_ACTION}
DROPS_QUEUE = {Move.EDIT, Move.CLEAR}
BY_CALLERS = set(Move) - OWNER_MOVES - BY_NOBODY


def test_every_move_has_its_row_and_send_one_for_each_way() -> None:
    rows = set(TABLE)
    assert rows == {(move, None) for move in set(Move) - {Move.SEND}} | {
        (Move.SEND, busy) for busy in Busy
    }
    assert all(TABLE.values()), "a row without a cell is a move that nobody can make"


def test_only_create_begins_from_nothing() -> None:
    assert [move for (move, _), cells in TABLE.items() if None in cells] == [Move.CREATE]
    assert set(TABLE[Move.CREATE, None]) == {None}


@pytest.mark.parametrize(("move", "busy", "status", "to"), CELLS)
def test_owned_chats_are_left_by_owners_and_reapers_alone(
    move: Move, busy: Busy | None, status: Status | None, to: To
) -> None:
    """A caller never takes a chat out of the hands that hold it; it asks. But an edit fences."""
    if move is Move.EDIT:
        assert to.ends == {Status.PENDING}
    elif move in OWNER_MOVES or move in {Move.REAP, Move.REAP_INTERRUPT}:
        assert status in OWNED
    elif status in OWNED:
        assert to.ends <= OWNED
    if move is Move.ACQUIRE:
        assert (status, to.ends) == (Status.PENDING, {Status.RUNNING})
    elif status not in OWNED:
        assert not to.ends & OWNED, "only a claim makes an owner"


@pytest.mark.parametrize(("move", "busy", "status", "to"), CELLS)
def test_no_cell_leads_to_what_the_table_of_states_forbids(
    move: Move, busy: Busy | None, status: Status | None, to: To
) -> None:
    if move in {Move.ARCHIVE, Move.UNARCHIVE}:
        assert status in ARCHIVABLE
        assert to.ends == {status}, "archived goes with these, and it changes nothing else"
    if to.queued is not None:
        assert to.queued is not Status.WAITING, "an idle chat has no queue"
    if (
        to.status is Status.WAITING
        and status not in {Status.WAITING, None}
        and move not in DROPS_QUEUE
    ):
        assert to.queued is not None, "with messages queued it must lead elsewhere"
    if Status.ERROR in to.ends and status is not Status.ERROR:
        assert move in {Move.FAIL, Move.REAP}, "only these have a reason to give"
    if not to.counts:
        assert to.ends == {status}, "what counts for nothing changes nothing"


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_left_and_come_to(status: Status) -> None:
    away = {end for cells in TABLE.values() if status in cells for end in cells[status].ends}
    assert away - {status}
    come = {
        start
        for cells in TABLE.values()
        for start, to in cells.items()
        if start is not status and status in to.ends
    }
    assert come


@pytest.mark.parametrize("status", Status)
def test_whoever_waits_can_be_woken(status: Status) -> None:
    """From anywhere, moves lead on to a status in which the user has an answer, or a reason."""
    reached, fresh = set[Status](), {status}
    while fresh:
        reached |= fresh
        fresh = {
            end
            for cells in TABLE.values()
            for start, to in cells.items()
            if start in fresh
            for end in to.ends
        } - reached
    assert reached >= REST


@pytest.mark.parametrize("status", Status)
def test_interrupt_and_describe_are_never_refused(status: Status) -> None:
    for move in (Move.INTERRUPT, Move.DESCRIBE):
        assert target(move, status) is not None
    assert target(Move.SEND, status, busy=Busy.QUEUE) is not None
    assert target(Move.SEND, status, busy=Busy.INTERRUPT) is not None
    rejected = target(Move.SEND, status, busy=Busy.REJECT) is None
    assert rejected == (status not in REST)


@pytest.mark.parametrize("status", Status)
def test_describe_disturbs_nobody(status: Status) -> None:
    assert target(Move.DESCRIBE, status) is status


def test_a_stop_stops() -> None:
    assert target(Move.INTERRUPT, Status.RUNNING) is Status.INTERRUPTING
    assert target(Move.SEND, Status.RUNNING, busy=Busy.INTERRUPT) is Status.INTERRUPTING
    for move in OWNER_MOVES - {Move.FINISH_INTERRUPT}:
        assert target(move, Status.INTERRUPTING) is None, "what was stopped does not go on"


@pytest.mark.parametrize(
    ("move", "busy", "status", "queued", "given_up", "silent"),
    [(*row, *rest) for row, *rest in product(TABLE, [None, *Status], *[[False, True]] * 3)],
)
def test_target_reads_the_table(
    move: Move,
    busy: Busy | None,
    status: Status | None,
    queued: bool,
    given_up: bool,
    silent: bool,
) -> None:
    found = target(move, status, busy=busy, queued=queued, given_up=given_up, silent=silent)
    cell = TABLE[move, busy].get(status)
    if cell is None:
        assert found is None
    elif silent and cell.silent:
        assert found is cell.silent
    elif given_up and cell.given_up:
        assert found is cell.given_up
    elif queued and cell.queued:
        assert found is cell.queued
    else:
        assert found is cell.status


def test_only_its_owner_makes_a_chat_wait_for_its_client() -> None:
    come = {
        move
        for (move, _), cells in TABLE.items()
        if Status.RUNNING in cells and Status.REQUIRES_ACTION in cells[Status.RUNNING].ends
    }
    assert come == {Move.REQUIRE_ACTION}
    for move in (Move.SUBMIT_TOOL_RESULTS, Move.EXPIRE_ACTION):
        assert {status: to.ends for status, to in TABLE[move, None].items()} == {
            Status.REQUIRES_ACTION: {Status.PENDING}
        }, "nothing is handed in twice"


def test_a_crash_loop_ends() -> None:
    assert target(Move.REAP, Status.RUNNING, given_up=True) is Status.ERROR
    assert target(Move.REAP, Status.RUNNING) is Status.PENDING


def test_who_makes_a_move_is_known() -> None:
    assert {Move.SEND, Move.INTERRUPT, Move.CREATE} <= BY_CALLERS
    assert set(Move) == OWNER_MOVES | BY_NOBODY | BY_CALLERS
