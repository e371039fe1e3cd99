"""Reasons for a chat's state: at least one for every state, and the right one."""

from datetime import UTC
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.diagnostics import NOW, ago, facts, workers

from chatd.domain.chat import LEASED, Status
from chatd.domain.diagnostics import (
    Activity,
    AwaitedChat,
    ChatDiagnostics,
    WorkerCapacity,
    WorkerInfo,
)
from chatd.domain.explain import reasons
from chatd.domain.reason import Reason, ReasonCode
from chatd.domain.tool_call import CallPolicy, CallState, Executor
from chatd.domain.tool_call_record import ToolCallRecord

STREAMING = Activity(epoch=3, stage="model stream", started_at=ago(8), deadline_at=ago(-52))
RETRY = {
    "attempts": 2,
    "next_attempt_at": ago(-10),
    "last_failure": {"kind": "rate_limit", "attempts": 2},
}


def call(name: str, state: CallState, tries: int, seconds: float = 3) -> ToolCallRecord:
    return ToolCallRecord(
        message_id=1,
        tool_call_id=name,
        tool_name=name,
        executor=Executor.SERVER,
        policy=CallPolicy.IDEMPOTENT,
        state=state,
        tries=tries,
        is_error=None,
        started_at=ago(seconds),
        completed_at=None,
        now=NOW,
    )


CASES: list[tuple[ChatDiagnostics, list[tuple[ReasonCode, str]]]] = [
    (
        facts(Status.WAITING),
        [(ReasonCode.IDLE, "idle for 12 s: there is nothing to do until a message comes")],
    ),
    (
        facts(
            Status.RUNNING,
            reported_activity=Activity(epoch=3, stage="tool pay", started_at=ago(8)),
            open_calls=(
                call("late", CallState.READY, 0),
                call("pay", CallState.STARTED, 1, 70),
                call("look", CallState.STARTED, 2),
                *(call(f"n{number}", CallState.READY, 0) for number in range(4)),
            ),
        ),
        [
            (ReasonCode.IN_STAGE, "in 'tool pay' for 8 s (as of 4 s ago)"),
            (
                ReasonCode.TOOL_CALLS_RUNNING,
                (
                    "7 tool calls without a result: pay (for 1 min 10 s), look (for 3 s, try 2), "
                    "late (ready), n0 (ready), n1 (ready), 2 more"
                ),
            ),
        ],
    ),
    (
        facts(Status.WAITING, archived=True, updated_at=ago(3 * 86400)),
        [
            (ReasonCode.ARCHIVED, "archived: it takes no messages until it is unarchived"),
            (ReasonCode.IDLE, "idle for 3 d 0 h: there is nothing to do until a message comes"),
        ],
    ),
    (
        facts(Status.PENDING, workers=workers(0, 0, 0, 30)),
        [(ReasonCode.NO_WORKER, "pending for 12 s: no worker has sent a heartbeat for 30 s")],
    ),
    (
        facts(Status.PENDING, workers=workers(0, 0, 0, None)),
        [
            (
                ReasonCode.NO_WORKER,
                "pending for 12 s: no worker is known to have ever sent a heartbeat",
            )
        ],
    ),
    (
        facts(Status.PENDING, workers=workers(1, with_model=0)),
        [(ReasonCode.MODEL_UNSERVED, "pending for 12 s: the only live worker lacks its model")],
    ),
    (
        facts(Status.PENDING, workers=workers(3, 0, 0, with_model=0)),
        [(ReasonCode.MODEL_UNSERVED, "pending for 12 s: none of the 3 live workers has its model")],
    ),
    (
        facts(Status.PENDING, workers=workers(1, 0, 0), chats_ahead=3),
        [
            (
                ReasonCode.NO_FREE_SLOTS,
                "pending for 12 s: the only worker with its model has no free slot",
            )
        ],
    ),
    (
        facts(Status.PENDING, workers=workers(3, 0, 0)),
        [
            (
                ReasonCode.NO_FREE_SLOTS,
                "pending for 12 s: none of the 3 workers with its model has a free slot",
            )
        ],
    ),
    (
        facts(Status.PENDING, chats_ahead=21, queue_length=2, compaction_requested=True),
        [
            (
                ReasonCode.CHATS_AHEAD,
                "pending for 12 s: 21 chats ahead of it, and 20 free slots",
            ),
            (ReasonCode.MESSAGES_QUEUED, "2 queued messages wait for the pending turn to end"),
            (ReasonCode.COMPACTION_REQUESTED, "it is compacted before its model is called next"),
        ],
    ),
    (
        facts(Status.WAITING, expires_at=ago(-90)),
        [
            (ReasonCode.IDLE, "idle for 12 s: there is nothing to do until a message comes"),
            (ReasonCode.EXPIRES, "it expires: it is deleted in 1 min 30 s, once it is idle"),
        ],
    ),
    (
        facts(Status.WAITING, expires_at=ago(1)),
        [
            (ReasonCode.IDLE, "idle for 12 s: there is nothing to do until a message comes"),
            (ReasonCode.EXPIRES, "it expires: it is deleted within minutes, once it is idle"),
        ],
    ),
    (
        facts(Status.PENDING, held=True, chats_ahead=21),
        [
            (
                ReasonCode.HELD,
                (
                    "pending for 12 s: its owner has as many running chats as "
                    "limits.max_running_per_owner allows"
                ),
            ),
        ],
    ),
    (
        facts(Status.PENDING, pending_since=ago(150)),
        [
            (
                ReasonCode.CLAIM_EXPECTED,
                (
                    "pending for 2 min 30 s: 2 workers with free slots should claim it at the next poll; "
                    "if not, see their logs"
                ),
            ),
        ],
    ),
    (
        facts(Status.PENDING, recoveries=1, pending_since=ago(150), **RETRY),
        [
            (ReasonCode.BACKING_OFF, "waiting until 14:03:10 UTC for attempt 3 after rate_limit"),
            (ReasonCode.RECOVERED, "it lost its worker once without making progress"),
        ],
    ),
    (
        facts(Status.RUNNING, reported_activity=STREAMING),
        [
            (
                ReasonCode.IN_STAGE,
                (
                    "in 'model stream' for 8 s; cancelled at 14:03:52 UTC unless it makes progress"
                    " (as of 4 s ago)"
                ),
            )
        ],
    ),
    (
        facts(Status.RUNNING, reported_activity=Activity(epoch=3)),
        [(ReasonCode.BETWEEN_STEPS, "being worked on, between two steps (as of 4 s ago)")],
    ),
    (
        facts(Status.RUNNING, reported_activity=Activity(epoch=2, stage="model stream")),
        [
            (
                ReasonCode.ACTIVITY_UNKNOWN,
                "its activity is unknown until its worker's next heartbeat",
            )
        ],
    ),
    (
        facts(Status.RUNNING, reported_activity=STREAMING, **RETRY),
        [(ReasonCode.BACKING_OFF, "waiting until 14:03:10 UTC for attempt 3 after rate_limit")],
    ),
    (
        facts(Status.read("paused")),
        [
            (
                ReasonCode.STATUS_UNKNOWN,
                "in the status paused, which a newer version of chatd stored: ask a process of it",
            )
        ],
    ),
    (
        facts(
            Status.RUNNING,
            reported_activity=Activity(epoch=3),
            worker=WorkerInfo(worker_id=UUID(int=2), heartbeat_at=ago(25)),
            recoveries=2,
        ),
        [
            (
                ReasonCode.LEASE_EXPIRED,
                "its worker has not renewed its lease for 25 s: another worker will take it over",
            ),
            (ReasonCode.BETWEEN_STEPS, "being worked on, between two steps (as of 4 s ago)"),
            (ReasonCode.RECOVERED, "it lost its worker 2 times without making progress"),
        ],
    ),
    (
        facts(Status.INTERRUPTING, queue_length=1, reported_activity=Activity(epoch=3)),
        [
            (
                ReasonCode.STOPPING,
                "a stop was requested 12 s ago; its worker has yet to store the answer so far",
            ),
            (ReasonCode.BETWEEN_STEPS, "being worked on, between two steps (as of 4 s ago)"),
            (ReasonCode.MESSAGES_QUEUED, "1 queued message waits for this turn to end"),
        ],
    ),
    (
        facts(Status.REQUIRES_ACTION, action_deadline=ago(-90)),
        [
            (
                ReasonCode.AWAITING_TOOL_RESULTS,
                "waiting for the client's tool results until 14:04:30 UTC, another 1 min 30 s",
            )
        ],
    ),
    (
        facts(Status.REQUIRES_ACTION, action_deadline=ago(5)),
        [
            (
                ReasonCode.AWAITING_TOOL_RESULTS,
                (
                    "waiting for the client's tool results until 14:02:55 UTC, which is past: "
                    "a worker will end the wait"
                ),
            )
        ],
    ),
    (
        facts(
            Status.PARKED,
            action_deadline=ago(-90),
            awaited=[
                AwaitedChat(chat_id=UUID(int=1), status=Status.RUNNING),
                AwaitedChat(chat_id=UUID(int=2), status=Status.WAITING),
                AwaitedChat(chat_id=UUID(int=3), status=Status.PENDING),
                AwaitedChat(chat_id=UUID(int=4), status=None),
            ],
            awaits_any=True,
            queue_length=1,
        ),
        [
            (
                ReasonCode.AWAITING_AGENTS,
                (
                    f"waiting for one of 2 chats ({UUID(int=1)} running, {UUID(int=3)} pending) "
                    "until 14:04:30 UTC, another 1 min 30 s"
                ),
            ),
            (
                ReasonCode.MESSAGES_QUEUED,
                "1 queued message waits for the wait to end",
            ),
        ],
    ),
    (
        facts(
            Status.PARKED,
            action_deadline=ago(-90),
            awaited=[AwaitedChat(chat_id=UUID(int=1), status=Status.ERROR)],
        ),
        [
            (
                ReasonCode.AWAITING_AGENTS,
                "the chats that it waits for are idle: a process is about to end the wait",
            )
        ],
    ),
    (
        facts(
            Status.REQUIRES_ACTION,
            action_deadline=ago(-90),
            asked={"input": 1, "result": 1, "approval": 2},
            queue_length=1,
        ),
        [
            (
                ReasonCode.AWAITING_APPROVAL,
                (
                    "waiting for people to allow or deny tool calls (2) until 14:04:30 UTC, "
                    "another 1 min 30 s"
                ),
            ),
            (ReasonCode.AWAITING_INPUT, "waiting for a person to answer a question"),
            (ReasonCode.AWAITING_TOOL_RESULTS, "waiting for the client's tool result"),
            (ReasonCode.MESSAGES_QUEUED, "1 queued message waits for the answers"),
        ],
    ),
    (
        facts(
            Status.ERROR,
            last_failure={"kind": "auth", "attempts": 1},
            queue_length=3,
            updated_at=ago(9000),
        ),
        [
            (
                ReasonCode.FAILED,
                "the last turn failed 2 h 30 min ago at attempt 1: auth; a retry or a message continues it",
            ),
            (ReasonCode.MESSAGES_QUEUED, "3 queued messages wait for a retry or a message"),
        ],
    ),
]


@pytest.mark.parametrize(("chat", "expected"), CASES, ids=[str(chat.status) for chat, _ in CASES])
def test_reasons_for_each_status(
    chat: ChatDiagnostics, expected: list[tuple[ReasonCode, str]]
) -> None:
    assert reasons(chat) == tuple(Reason(*reason) for reason in expected)


def test_every_code_has_a_case() -> None:
    assert {code for _, expected in CASES for code, _ in expected} == set(ReasonCode)


moments = st.datetimes(
    NOW.replace(year=1990, tzinfo=None),
    NOW.replace(year=2090, tzinfo=None),
    timezones=st.just(UTC),
)
maybe = st.none() | moments
counts = st.integers(0, 10**6)
activities = st.builds(
    Activity,
    epoch=st.integers(2, 3),
    stage=st.none() | st.text(),
    started_at=maybe,
    deadline_at=maybe,
)
anything = st.builds(
    facts,
    st.sampled_from(Status),
    archived=st.booleans(),
    updated_at=moments,
    queue_length=counts,
    recoveries=counts,
    attempts=counts,
    next_attempt_at=maybe,
    last_failure=st.none() | st.dictionaries(st.sampled_from(["kind", "attempts"]), st.text()),
    pending_since=maybe,
    chats_ahead=counts,
    action_deadline=maybe,
    worker=st.none() | st.builds(WorkerInfo, worker_id=st.uuids(), heartbeat_at=maybe),
    heartbeat_at=maybe,
    reported_activity=st.none() | activities,
    workers=st.builds(
        WorkerCapacity,
        alive=counts,
        with_model=counts,
        with_free_slots=counts,
        free_slots=counts,
        last_heartbeat_at=maybe,
    ),
    lease_seconds=st.floats(0.1, 1e6),
)


@given(anything)
@example(facts(Status.RUNNING, next_attempt_at=ago(-9), attempts=1, last_failure={"kind": " "}))
def test_every_state_has_a_reason(chat: ChatDiagnostics) -> None:
    """Whatever the database holds, also states that no transition leads to."""
    expected = reasons(chat)
    assert expected
    assert len({reason.code for reason in expected}) == len(expected)
    assert all(reason.text.strip() == reason.text != "" for reason in expected)
    assert all(
        "None" not in reason.text for reason in expected if reason.code is not ReasonCode.IN_STAGE
    )


@given(anything)
def test_activity_of_an_earlier_epoch_is_ignored(chat: ChatDiagnostics) -> None:
    assert chat.activity is None or (chat.status in LEASED and chat.activity.epoch == chat.epoch)
    assert (chat.lease_left_seconds is None) == (
        chat.status not in LEASED or chat.worker is None or chat.worker.heartbeat_at is None
    )


@pytest.mark.parametrize(
    "capacity",
    [
        workers(0, 0, 0),
        workers(0, 0, 0, None),
        workers(4, 0, 0, with_model=0),
        workers(3, 0, 0),
        workers(),
        workers(7, 5, 1),
    ],
)
def test_owner_is_told_the_code_and_no_number(capacity: WorkerCapacity) -> None:
    chat = facts(Status.PENDING, workers=capacity, chats_ahead=17, pending_since=None)
    (told,), (seen,) = reasons(chat, for_operator=False), reasons(chat)
    assert told.code is seen.code
    assert not any(letter.isdigit() for letter in told.text), told.text
