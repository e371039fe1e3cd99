"""Why a chat is where it is, in words for somebody who was woken up to find out.

A pure function of what the database knows, so that every replica says the same and every state can be
tested to have an answer. What the chat is doing comes from its owner's last beat, and says how old it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from chatd.domain.chat import LEASED, Status


class ReasonCode(StrEnum):
    """Reasons, for programs. Several may hold at once; the one to look at first comes first."""

    IDLE = "idle"
    ARCHIVED = "archived"
    NO_WORKER = "no_worker"
    NO_FREE_SLOTS = "no_free_slots"
    CHATS_AHEAD = "chats_ahead"
    CLAIM_EXPECTED = "claim_expected"
    LEASE_EXPIRED = "lease_expired"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    IN_STAGE = "in_stage"
    BETWEEN_STEPS = "between_steps"
    ACTIVITY_UNKNOWN = "activity_unknown"
    AWAITING_TOOL_RESULTS = "awaiting_tool_results"
    FAILED = "failed"
    RECOVERED = "recovered"
    MESSAGES_QUEUED = "messages_queued"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a code for programs, a sentence for people."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """The process that works on a chat; but for its id, unknown when it is not listed any more."""

    worker_id: UUID
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What its owner said of a chat at its last beat: the zone it is in, and when that is cut."""

    epoch: int
    stage: str | None = None
    started_at: datetime | None = None
    deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCapacity:
    """The processes that work: how many have a fresh beat, and room for how many chats more."""

    alive: int
    with_free_slots: int
    free_slots: int
    last_heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDiagnostics:
    """What is known of a chat at ``now``, by the database's clock. ``chats_ahead`` is counted up to a bound."""

    now: datetime
    chat_id: UUID
    status: Status
    archived: bool
    epoch: int
    version: int
    updated_at: datetime
    queue_length: int
    recoveries: int
    attempts: int
    next_attempt_at: datetime | None
    last_failure: Mapping[str, Any] | None
    pending_since: datetime | None
    chats_ahead: int
    action_deadline: datetime | None
    worker: WorkerInfo | None
    heartbeat_at: datetime | None
    reported_activity: Activity | None
    workers: WorkerCapacity
    lease_seconds: float

    @property
    def activity(self) -> Activity | None:
        """What the chat's owner is doing; not what an earlier one did."""
        owned = (
            self.status in LEASED
            and self.reported_activity is not None
            and self.reported_activity.epoch == self.epoch
        )
        return self.reported_activity if owned else None

    @property
    def lease_left_seconds(self) -> float | None:
        """Seconds until others may take the chat; below zero when they may."""
        if self.status not in LEASED or self.heartbeat_at is None:
            return None
        return self.lease_seconds - self.seconds_since(self.heartbeat_at)

    def seconds_since(self, moment: datetime) -> float:
        return (self.now - moment).total_seconds()


def reasons(facts: ChatDiagnostics) -> tuple[Reason, ...]:
    """Every reason why the chat is where it is: at least one."""
    return tuple(_iter_reasons(facts))


def _iter_reasons(facts: ChatDiagnostics) -> Iterator[Reason]:
    match facts.status:
        case Status.WAITING:
            yield from _waiting(facts)
        case Status.PENDING:
            yield from _pending(facts)
        case Status.RUNNING | Status.INTERRUPTING:
            yield from _leased(facts)
        case Status.REQUIRES_ACTION:
            yield _awaiting_tool_results(facts)
        case Status.ERROR:
            yield _failed(facts)
    if facts.recoveries:
        yield Reason(
            ReasonCode.RECOVERED,
            f"it lost its worker {_format_times(facts.recoveries)} without making progress",
        )
    if facts.queue_length:
        yield _messages_queued(facts)


def _waiting(facts: ChatDiagnostics) -> Iterator[Reason]:
    if facts.archived:
        yield Reason(ReasonCode.ARCHIVED, "archived: it takes no messages until it is unarchived")
    yield Reason(
        ReasonCode.IDLE,
        f"idle for {_format_duration(facts.seconds_since(facts.updated_at))}: there is nothing to do until a message comes",
    )


def _pending(facts: ChatDiagnostics) -> Iterator[Reason]:
    waits = "pending" + (
        f" for {_format_duration(facts.seconds_since(facts.pending_since))}"
        if facts.pending_since
        else ""
    )
    workers = facts.workers
    if not workers.alive:
        beat = workers.last_heartbeat_at
        silence = (
            f"no worker has sent a heartbeat for {_format_duration(facts.seconds_since(beat))}"
            if beat
            else "no worker has ever sent a heartbeat, as far as is known"
        )
        yield Reason(ReasonCode.NO_WORKER, f"{waits}: {silence}")
    elif not workers.with_free_slots:
        alive = workers.alive
        full = (
            "the only live worker has no free slot"
            if alive == 1
            else f"none of the {alive} live workers has a free slot"
        )
        yield Reason(ReasonCode.NO_FREE_SLOTS, f"{waits}: {full}")
    elif facts.chats_ahead >= workers.free_slots:
        yield Reason(
            ReasonCode.CHATS_AHEAD,
            f"{waits}: {_format_count(facts.chats_ahead, 'chat')} ahead of it, "
            f"and {_format_count(workers.free_slots, 'free slot')}",
        )
    else:
        yield Reason(
            ReasonCode.CLAIM_EXPECTED,
            f"{waits}: {_format_count(workers.with_free_slots, 'worker')} with free slots should claim it at the next poll; "
            "if not, see their logs",
        )
    if _is_backing_off(facts):
        yield _backing_off(facts)


def _leased(facts: ChatDiagnostics) -> Iterator[Reason]:
    left = facts.lease_left_seconds
    if left is not None and left <= 0 and facts.heartbeat_at is not None:
        yield Reason(
            ReasonCode.LEASE_EXPIRED,
            f"its worker has not renewed its lease for {_format_duration(facts.seconds_since(facts.heartbeat_at))}: "
            "another worker will take it over",
        )
    if facts.status is Status.INTERRUPTING:
        yield Reason(
            ReasonCode.STOPPING,
            f"a stop was requested {_format_duration(facts.seconds_since(facts.updated_at))} ago; "
            "its worker has yet to store the answer so far",
        )
    if _is_backing_off(facts):
        yield _backing_off(facts)
        return
    yield _activity_reason(facts)


def _activity_reason(facts: ChatDiagnostics) -> Reason:
    doing = facts.activity
    if doing is None:
        return Reason(
            ReasonCode.ACTIVITY_UNKNOWN,
            "its activity is unknown until its worker's next heartbeat",
        )
    said = (
        f" (as of {_format_duration(facts.seconds_since(facts.heartbeat_at))} ago)"
        if facts.heartbeat_at
        else ""
    )
    if doing.stage is None:
        return Reason(ReasonCode.BETWEEN_STEPS, f"being worked on, between two steps{said}")
    since = (
        f" for {_format_duration(facts.seconds_since(doing.started_at))}"
        if doing.started_at
        else ""
    )
    until = (
        f"; cancelled at {_format_time(doing.deadline_at)} unless it makes progress"
        if doing.deadline_at
        else ""
    )
    return Reason(ReasonCode.IN_STAGE, f"in {doing.stage!r}{since}{until}{said}")


def _is_backing_off(facts: ChatDiagnostics) -> bool:
    return (
        facts.attempts > 0
        and facts.next_attempt_at is not None
        and facts.next_attempt_at > facts.now
    )


def _backing_off(facts: ChatDiagnostics) -> Reason:
    assert facts.next_attempt_at is not None  # noqa: S101 - it is what it waits for
    after = f" after {_failure_kind(facts)}" if facts.last_failure else ""
    return Reason(
        ReasonCode.BACKING_OFF,
        f"waiting until {_format_time(facts.next_attempt_at)} for attempt {facts.attempts + 1}{after}",
    )


def _awaiting_tool_results(facts: ChatDiagnostics) -> Reason:
    until = ""
    if facts.action_deadline is not None:
        left = -facts.seconds_since(facts.action_deadline)
        until = f" until {_format_time(facts.action_deadline)}" + (
            f", another {_format_duration(left)}"
            if left > 0
            else ", which is past: a worker will end the wait"
        )
    return Reason(ReasonCode.AWAITING_TOOL_RESULTS, f"waiting for the client's tool results{until}")


def _failed(facts: ChatDiagnostics) -> Reason:
    detail = facts.last_failure or {}
    attempts = detail.get("attempts")
    tried = f" at attempt {attempts}" if isinstance(attempts, int) else ""
    return Reason(
        ReasonCode.FAILED,
        f"the last turn failed {_format_duration(facts.seconds_since(facts.updated_at))} ago{tried}: {_failure_kind(facts)}; "
        "a retry or a message continues it",
    )


def _messages_queued(facts: ChatDiagnostics) -> Reason:
    for_what = {
        Status.ERROR: "for a retry or a message",
        Status.PENDING: "for the pending turn to end",
        Status.REQUIRES_ACTION: "for the tool results",
    }.get(facts.status, "for this turn to end")
    verb = "waits" if facts.queue_length == 1 else "wait"
    return Reason(
        ReasonCode.MESSAGES_QUEUED,
        f"{_format_count(facts.queue_length, 'queued message')} {verb} {for_what}",
    )


def _failure_kind(facts: ChatDiagnostics) -> str:
    return str((facts.last_failure or {}).get("kind") or "an unknown failure")


def _format_time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"


_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def _format_duration(seconds: float) -> str:
    """A length of time as people say it, in the largest unit that it has two of."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _format_times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
