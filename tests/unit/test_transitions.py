"""Invariants of the table of transitions."""

from itertools import product

import pytest

from chatd.domain.chat import IDLE, LEASED, BusyBehavior, Status
from chatd.domain.transitions import TABLE, WORKER_TRANSITIONS, Target, Transition, target_status

IDLE_STATUSES = {Status.WAITING, Status.ERROR}
CELLS = [
    pytest.param(transition, busy, status, target, id=f"{transition}-{busy}-{status}")
    for (transition, busy), targets in TABLE.items()
    for status, target in targets.items()
]
BY_ACTORS = {
    Transition.CLAIM,
    Transition.REAP,
    Transition.REAP_INTERRUPT,
    Transition.EXPIRE_ACTION,
    Transition.FAIL_UNSERVED,
}
ANSWERED_AGAIN = {Transition.EDIT, Transition.REGENERATE}
DROPS_QUEUE = {*ANSWERED_AGAIN, Transition.CLEAR}
BY_CALLERS = set(Transition) - WORKER_TRANSITIONS - BY_ACTORS


def test_every_transition_has_a_row_and_send_one_per_busy_behavior() -> None:
    rows = set(TABLE)
    assert rows == {(transition, None) for transition in set(Transition) - {Transition.SEND}} | {
        (Transition.SEND, busy) for busy in BusyBehavior
    }
    assert all(TABLE.values()), "a row without targets is a transition that is never legal"


def test_only_create_and_fork_start_without_a_chat() -> None:
    assert [transition for (transition, _), targets in TABLE.items() if None in targets] == [
        Transition.CREATE,
        Transition.FORK,
    ]
    for transition in (Transition.CREATE, Transition.FORK):
        assert set(TABLE[transition, None]) == {None}


@pytest.mark.parametrize(("transition", "busy", "status", "target"), CELLS)
def test_leased_chats_are_left_by_workers_and_reapers_only(
    transition: Transition, busy: BusyBehavior | None, status: Status | None, target: Target
) -> None:
    """A caller never takes a chat from its worker: it requests a stop. But an edit fences."""
    if transition in ANSWERED_AGAIN:
        assert target.statuses == {Status.PENDING}
    elif transition in WORKER_TRANSITIONS or transition in {
        Transition.REAP,
        Transition.REAP_INTERRUPT,
    }:
        assert status in LEASED
    elif status in LEASED:
        assert target.statuses <= LEASED
    if transition is Transition.CLAIM:
        assert (status, target.statuses) == (Status.PENDING, {Status.RUNNING})
    elif status not in LEASED:
        assert not target.statuses & LEASED, "only a claim gives a chat a worker"


@pytest.mark.parametrize(("transition", "busy", "status", "target"), CELLS)
def test_targets_respect_the_statuses(
    transition: Transition, busy: BusyBehavior | None, status: Status | None, target: Target
) -> None:
    if transition in {Transition.ARCHIVE, Transition.UNARCHIVE}:
        assert status in IDLE
        assert target.statuses == {status}, "only idle chats are archived, and their status stays"
    if target.when_queued is not None:
        assert target.when_queued is not Status.WAITING, "an idle chat has no queue"
    if (
        target.status is Status.WAITING
        and status not in {Status.WAITING, None}
        and transition not in DROPS_QUEUE
    ):
        assert target.when_queued is not None, "with a queue, the target is another status"
    if Status.ERROR in target.statuses and status is not Status.ERROR:
        assert transition in {
            Transition.FAIL,
            Transition.REAP,
            Transition.FAIL_UNSERVED,
        }, "only these set last_error"
    if not target.journaled:
        assert target.statuses == {status}, "a transition that is not journaled changes nothing"


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_entered_and_left(status: Status) -> None:
    left_to = {
        end for targets in TABLE.values() if status in targets for end in targets[status].statuses
    }
    assert left_to - {status}
    entered_from = {
        start
        for targets in TABLE.values()
        for start, target in targets.items()
        if start is not status and status in target.statuses
    }
    assert entered_from


@pytest.mark.parametrize("status", Status)
def test_every_status_leads_to_an_idle_one(status: Status) -> None:
    """Every status leads to one in which the user has an answer, or the reason of a failure."""
    reachable, new = set[Status](), {status}
    while new:
        reachable |= new
        new = {
            end
            for targets in TABLE.values()
            for start, target in targets.items()
            if start in new
            for end in target.statuses
        } - reachable
    assert reachable >= IDLE_STATUSES


@pytest.mark.parametrize("status", Status)
def test_interrupt_and_describe_are_never_refused(status: Status) -> None:
    for transition in (Transition.INTERRUPT, Transition.DESCRIBE):
        assert target_status(transition, status) is not None
    assert target_status(Transition.SEND, status, busy=BusyBehavior.QUEUE) is not None
    assert target_status(Transition.SEND, status, busy=BusyBehavior.INTERRUPT) is not None
    rejected = target_status(Transition.SEND, status, busy=BusyBehavior.REJECT) is None
    assert rejected == (status not in IDLE_STATUSES)


@pytest.mark.parametrize("status", Status)
def test_describe_keeps_the_status(status: Status) -> None:
    assert target_status(Transition.DESCRIBE, status) is status


def test_interrupt_stops_a_running_turn() -> None:
    assert target_status(Transition.INTERRUPT, Status.RUNNING) is Status.INTERRUPTING
    assert (
        target_status(Transition.SEND, Status.RUNNING, busy=BusyBehavior.INTERRUPT)
        is Status.INTERRUPTING
    )
    for transition in WORKER_TRANSITIONS - {Transition.FINISH_INTERRUPT}:
        assert target_status(transition, Status.INTERRUPTING) is None, (
            "an interrupted turn does not go on"
        )


@pytest.mark.parametrize(
    ("transition", "busy", "status"),
    [(*row, status) for row, status in product(TABLE, [None, *Status])],
)
def test_target_status_reads_the_table(
    transition: Transition, busy: BusyBehavior | None, status: Status | None
) -> None:
    cell = TABLE[transition, busy].get(status)
    for has_queue, exhausted, without_message, asking in product([False, True], repeat=4):
        status_after = target_status(
            transition,
            status,
            busy=busy,
            has_queue=has_queue,
            exhausted=exhausted,
            without_message=without_message,
            asking=asking,
        )
        flags = (has_queue, exhausted, without_message, asking)
        if cell is None:
            assert status_after is None, flags
        elif without_message and cell.without_message:
            assert status_after is cell.without_message, flags
        elif asking and cell.when_asking:
            assert status_after is cell.when_asking, flags
        elif exhausted and cell.when_exhausted:
            assert status_after is cell.when_exhausted, flags
        elif has_queue and cell.when_queued:
            assert status_after is cell.when_queued, flags
        else:
            assert status_after is cell.status, flags


def test_only_the_worker_requires_action() -> None:
    entered_from = {
        transition
        for (transition, _), targets in TABLE.items()
        if Status.RUNNING in targets and Status.REQUIRES_ACTION in targets[Status.RUNNING].statuses
    }
    assert entered_from == {Transition.REQUIRE_ACTION}
    for transition in (
        Transition.ANSWER_ACTION,
        Transition.SUBMIT_TOOL_RESULTS,
        Transition.EXPIRE_ACTION,
    ):
        assert {status: target.statuses for status, target in TABLE[transition, None].items()} == {
            Status.REQUIRES_ACTION: {Status.PENDING, Status.REQUIRES_ACTION}
        }, "a call is answered once, and others may be asked still"


def test_exhausted_reap_fails_the_chat() -> None:
    assert target_status(Transition.REAP, Status.RUNNING, exhausted=True) is Status.ERROR
    assert target_status(Transition.REAP, Status.RUNNING) is Status.PENDING


def test_every_transition_has_an_actor() -> None:
    assert {Transition.SEND, Transition.INTERRUPT, Transition.CREATE} <= BY_CALLERS
    assert set(Transition) == WORKER_TRANSITIONS | BY_ACTORS | BY_CALLERS
