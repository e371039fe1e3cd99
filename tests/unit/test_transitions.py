"""The table of moves by itself: what it may and may not say, whoever reads it."""

from itertools import product

import pytest

from chatd.domain.chat import IDLE, LEASED, BusyBehavior, Status
from chatd.domain.transitions import TABLE, WORKER_TRANSITIONS, Target, Transition, target_status

REST = {Status.WAITING, Status.ERROR}
CELLS = [
    pytest.param(move, busy, status, to, id=f"{move}-{busy}-{status}")
    for (move, busy), cells in TABLE.items()
    for status, to in cells.items()
]
BY_NOBODY = {Transition.CLAIM, Transition.REAP, Transition.REAP_INTERRUPT, Transition.EXPIRE_ACTION}
DROPS_QUEUE = {Transition.EDIT, Transition.CLEAR}
BY_CALLERS = set(Transition) - WORKER_TRANSITIONS - BY_NOBODY


def test_every_transition_has_a_row_and_send_one_per_busy_behavior() -> None:
    rows = set(TABLE)
    assert rows == {(move, None) for move in set(Transition) - {Transition.SEND}} | {
        (Transition.SEND, busy) for busy in BusyBehavior
    }
    assert all(TABLE.values()), "a row without a cell is a move that nobody can make"


def test_only_create_starts_without_a_chat() -> None:
    assert [move for (move, _), cells in TABLE.items() if None in cells] == [Transition.CREATE]
    assert set(TABLE[Transition.CREATE, None]) == {None}


@pytest.mark.parametrize(("move", "busy", "status", "to"), CELLS)
def test_leased_chats_are_left_by_workers_and_reapers_only(
    move: Transition, busy: BusyBehavior | None, status: Status | None, to: Target
) -> None:
    """A caller never takes a chat out of the hands that hold it; it asks. But an edit fences."""
    if move is Transition.EDIT:
        assert to.statuses == {Status.PENDING}
    elif move in WORKER_TRANSITIONS or move in {Transition.REAP, Transition.REAP_INTERRUPT}:
        assert status in LEASED
    elif status in LEASED:
        assert to.statuses <= LEASED
    if move is Transition.CLAIM:
        assert (status, to.statuses) == (Status.PENDING, {Status.RUNNING})
    elif status not in LEASED:
        assert not to.statuses & LEASED, "only a claim makes an owner"


@pytest.mark.parametrize(("move", "busy", "status", "to"), CELLS)
def test_targets_respect_the_statuses(
    move: Transition, busy: BusyBehavior | None, status: Status | None, to: Target
) -> None:
    if move in {Transition.ARCHIVE, Transition.UNARCHIVE}:
        assert status in IDLE
        assert to.statuses == {status}, "archived goes with these, and it changes nothing else"
    if to.when_queued is not None:
        assert to.when_queued is not Status.WAITING, "an idle chat has no queue"
    if (
        to.status is Status.WAITING
        and status not in {Status.WAITING, None}
        and move not in DROPS_QUEUE
    ):
        assert to.when_queued is not None, "with messages queued it must lead elsewhere"
    if Status.ERROR in to.statuses and status is not Status.ERROR:
        assert move in {Transition.FAIL, Transition.REAP}, "only these have a reason to give"
    if not to.journaled:
        assert to.statuses == {status}, "what counts for nothing changes nothing"


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_entered_and_left(status: Status) -> None:
    away = {end for cells in TABLE.values() if status in cells for end in cells[status].statuses}
    assert away - {status}
    come = {
        start
        for cells in TABLE.values()
        for start, to in cells.items()
        if start is not status and status in to.statuses
    }
    assert come


@pytest.mark.parametrize("status", Status)
def test_every_status_leads_to_an_idle_one(status: Status) -> None:
    """From anywhere, moves lead on to a status in which the user has an answer, or a reason."""
    reached, fresh = set[Status](), {status}
    while fresh:
        reached |= fresh
        fresh = {
            end
            for cells in TABLE.values()
            for start, to in cells.items()
            if start in fresh
            for end in to.statuses
        } - reached
    assert reached >= REST


@pytest.mark.parametrize("status", Status)
def test_interrupt_and_describe_are_never_refused(status: Status) -> None:
    for move in (Transition.INTERRUPT, Transition.DESCRIBE):
        assert target_status(move, status) is not None
    assert target_status(Transition.SEND, status, busy=BusyBehavior.QUEUE) is not None
    assert target_status(Transition.SEND, status, busy=BusyBehavior.INTERRUPT) is not None
    rejected = target_status(Transition.SEND, status, busy=BusyBehavior.REJECT) is None
    assert rejected == (status not in REST)


@pytest.mark.parametrize("status", Status)
def test_describe_keeps_the_status(status: Status) -> None:
    assert target_status(Transition.DESCRIBE, status) is status


def test_interrupt_stops_a_running_turn() -> None:
    assert target_status(Transition.INTERRUPT, Status.RUNNING) is Status.INTERRUPTING
    assert (
        target_status(Transition.SEND, Status.RUNNING, busy=BusyBehavior.INTERRUPT)
        is Status.INTERRUPTING
    )
    for move in WORKER_TRANSITIONS - {Transition.FINISH_INTERRUPT}:
        assert target_status(move, Status.INTERRUPTING) is None, "what was stopped does not go on"


@pytest.mark.parametrize(
    ("move", "busy", "status", "queued", "given_up", "silent"),
    [(*row, *rest) for row, *rest in product(TABLE, [None, *Status], *[[False, True]] * 3)],
)
def test_target_status_reads_the_table(
    move: Transition,
    busy: BusyBehavior | None,
    status: Status | None,
    queued: bool,
    given_up: bool,
    silent: bool,
) -> None:
    found = target_status(
        move, status, busy=busy, has_queue=queued, exhausted=given_up, without_message=silent
    )
    cell = TABLE[move, busy].get(status)
    if cell is None:
        assert found is None
    elif silent and cell.without_message:
        assert found is cell.without_message
    elif given_up and cell.when_exhausted:
        assert found is cell.when_exhausted
    elif queued and cell.when_queued:
        assert found is cell.when_queued
    else:
        assert found is cell.status


def test_only_the_worker_requires_action() -> None:
    come = {
        move
        for (move, _), cells in TABLE.items()
        if Status.RUNNING in cells and Status.REQUIRES_ACTION in cells[Status.RUNNING].statuses
    }
    assert come == {Transition.REQUIRE_ACTION}
    for move in (Transition.SUBMIT_TOOL_RESULTS, Transition.EXPIRE_ACTION):
        assert {status: to.statuses for status, to in TABLE[move, None].items()} == {
            Status.REQUIRES_ACTION: {Status.PENDING}
        }, "nothing is handed in twice"


def test_exhausted_reap_fails_the_chat() -> None:
    assert target_status(Transition.REAP, Status.RUNNING, exhausted=True) is Status.ERROR
    assert target_status(Transition.REAP, Status.RUNNING) is Status.PENDING


def test_every_transition_has_an_actor() -> None:
    assert {Transition.SEND, Transition.INTERRUPT, Transition.CREATE} <= BY_CALLERS
    assert set(Transition) == WORKER_TRANSITIONS | BY_NOBODY | BY_CALLERS
