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

from chatd.domain.chat import OWNED, Status


class Code(StrEnum):
    """Reasons, for programs. Several may hold at once; the one to look at first comes first."""

    YOUR_TURN = "your_turn"
    ARCHIVED = "archived"
    NO_WORKER = "no_worker"
    NO_ROOM = "no_room"
    IN_LINE = "in_line"
    TO_BE_CLAIMED = "to_be_claimed"
    LEASE_EXPIRED = "lease_expired"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    IN_ZONE = "in_zone"
    BETWEEN_STEPS = "between_steps"
    NOT_TOLD_YET = "not_told_yet"
    NEEDS_RESULTS = "needs_results"
    FAILED = "failed"
    RECOVERED = "recovered"
    QUEUE_WAITS = "queue_waits"


@dataclass(frozen=True, slots=True)
class Because:
    """One reason: a code for programs, a sentence for people."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that works on a chat; but for its id, unknown when it is not listed any more."""

    worker_id: UUID
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What its owner said of a chat at its last beat: the zone it is in, and when that is cut."""

    epoch: int
    zone: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The processes that work: how many have a fresh beat, and room for how many chats more."""

    alive: int
    with_room: int
    room: int
    last_beat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a chat at ``now``, by the database's clock. ``ahead`` is counted up to a bound."""

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
    ahead: int
    action_deadline: datetime | None
    owner: Owner | None
    heartbeat_at: datetime | None
    told: Doing | None
    workers: Workers
    stale_after_seconds: float

    @property
    def doing(self) -> Doing | None:
        """What the chat's owner is doing; not what an earlier one did."""
        owned = self.status in OWNED and self.told is not None and self.told.epoch == self.epoch
        return self.told if owned else None

    @property
    def lease_left_seconds(self) -> float | None:
        """Seconds until others may take the chat; below zero when they may."""
        if self.status not in OWNED or self.heartbeat_at is None:
            return None
        return self.stale_after_seconds - self.ago(self.heartbeat_at)

    def ago(self, moment: datetime) -> float:
        return (self.now - moment).total_seconds()


def because(facts: Facts) -> tuple[Because, ...]:
    """Every reason why the chat is where it is: at least one."""
    return tuple(_reasons(facts))


def _reasons(facts: Facts) -> Iterator[Because]:
    match facts.status:
        case Status.WAITING:
            yield from _waiting(facts)
        case Status.PENDING:
            yield from _pending(facts)
        case Status.RUNNING | Status.INTERRUPTING:
            yield from _owned(facts)
        case Status.REQUIRES_ACTION:
            yield _needs_results(facts)
        case Status.ERROR:
            yield _failed(facts)
    if facts.recoveries:
        yield Because(
            Code.RECOVERED,
            f"it lost its worker {_times(facts.recoveries)} without making progress",
        )
    if facts.queue_length:
        yield _queue(facts)


def _waiting(facts: Facts) -> Iterator[Because]:
    if facts.archived:
        yield Because(Code.ARCHIVED, "archived: it takes no messages until it is unarchived")
    yield Because(
        Code.YOUR_TURN,
        f"idle for {_span(facts.ago(facts.updated_at))}: there is nothing to do until a message comes",
    )


def _pending(facts: Facts) -> Iterator[Because]:
    waits = "pending" + (
        f" for {_span(facts.ago(facts.pending_since))}" if facts.pending_since else ""
    )
    workers = facts.workers
    if not workers.alive:
        beat = workers.last_beat_at
        silence = (
            f"no worker has sent a heartbeat for {_span(facts.ago(beat))}"
            if beat
            else "no worker has ever sent a heartbeat, as far as is known"
        )
        yield Because(Code.NO_WORKER, f"{waits}: {silence}")
    elif not workers.with_room:
        alive = workers.alive
        full = (
            "the only live worker has no room"
            if alive == 1
            else f"none of the {alive} live workers has room"
        )
        yield Because(Code.NO_ROOM, f"{waits}: {full} for another chat")
    elif facts.ahead >= workers.room:
        yield Because(
            Code.IN_LINE,
            f"{waits}: {_count(facts.ahead, 'chat')} ahead of it in line, and room for {workers.room}",
        )
    else:
        yield Because(
            Code.TO_BE_CLAIMED,
            f"{waits}: {_count(workers.with_room, 'worker')} with room should claim it at the next poll; "
            "if not, see their logs",
        )
    if _backs_off(facts):
        yield _backing_off(facts)


def _owned(facts: Facts) -> Iterator[Because]:
    left = facts.lease_left_seconds
    if left is not None and left <= 0 and facts.heartbeat_at is not None:
        yield Because(
            Code.LEASE_EXPIRED,
            f"its worker has not renewed its lease for {_span(facts.ago(facts.heartbeat_at))}: "
            "another worker will take it over",
        )
    if facts.status is Status.INTERRUPTING:
        yield Because(
            Code.STOPPING,
            f"a stop was requested {_span(facts.ago(facts.updated_at))} ago; its worker has yet to store "
            "what was said",
        )
    if _backs_off(facts):
        yield _backing_off(facts)
        return
    yield _at_work(facts)


def _at_work(facts: Facts) -> Because:
    doing = facts.doing
    if doing is None:
        return Because(
            Code.NOT_TOLD_YET, "what it is doing is unknown until its worker's next heartbeat"
        )
    said = f" (as of {_span(facts.ago(facts.heartbeat_at))} ago)" if facts.heartbeat_at else ""
    if doing.zone is None:
        return Because(Code.BETWEEN_STEPS, f"being worked on, between two steps{said}")
    since = f" for {_span(facts.ago(doing.since))}" if doing.since else ""
    until = f"; cut at {_clock(doing.until)} unless it makes progress" if doing.until else ""
    return Because(Code.IN_ZONE, f"in {doing.zone!r}{since}{until}{said}")


def _backs_off(facts: Facts) -> bool:
    return (
        facts.attempts > 0
        and facts.next_attempt_at is not None
        and facts.next_attempt_at > facts.now
    )


def _backing_off(facts: Facts) -> Because:
    assert facts.next_attempt_at is not None  # noqa: S101 - it is what it waits for
    after = f" after {_kind(facts)}" if facts.last_failure else ""
    return Because(
        Code.BACKING_OFF,
        f"waiting until {_clock(facts.next_attempt_at)} for attempt {facts.attempts + 1}{after}",
    )


def _needs_results(facts: Facts) -> Because:
    until = ""
    if facts.action_deadline is not None:
        left = -facts.ago(facts.action_deadline)
        until = f" until {_clock(facts.action_deadline)}" + (
            f", another {_span(left)}"
            if left > 0
            else ", which is past: a worker will end the wait"
        )
    return Because(Code.NEEDS_RESULTS, f"waiting for the client's tool results{until}")


def _failed(facts: Facts) -> Because:
    detail = facts.last_failure or {}
    attempts = detail.get("attempts")
    tried = f" at attempt {attempts}" if isinstance(attempts, int) else ""
    return Because(
        Code.FAILED,
        f"the last turn failed {_span(facts.ago(facts.updated_at))} ago{tried}: {_kind(facts)}; "
        "a retry or a message makes it go on",
    )


def _queue(facts: Facts) -> Because:
    for_what = {
        Status.ERROR: "for a retry or a message",
        Status.PENDING: "for the pending turn to end",
        Status.REQUIRES_ACTION: "for the tool results",
    }.get(facts.status, "for this turn to end")
    verb = "waits" if facts.queue_length == 1 else "wait"
    return Because(
        Code.QUEUE_WAITS, f"{_count(facts.queue_length, 'queued message')} {verb} {for_what}"
    )


def _kind(facts: Facts) -> str:
    return str((facts.last_failure or {}).get("kind") or "an unknown failure")


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"


_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def _span(seconds: float) -> str:
    """A length of time as people say it, in the largest unit that it has two of."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
