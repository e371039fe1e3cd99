"""Reasons for a chat's state, in words for its owner, and in more of them for an operator on call.

A pure function of what the database knows, so every replica gives the same reasons, and a test can show
that every state has one. The chat's activity comes from its worker's last heartbeat, and the text says
how old that is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from chatd.domain.chat import IDLE, Status
from chatd.domain.diagnostics import ChatDiagnostics
from chatd.domain.duration import format_duration
from chatd.domain.question import QuestionKind
from chatd.domain.reason import Reason, ReasonCode
from chatd.domain.tool_call import CallState


def reasons(chat: ChatDiagnostics, *, for_operator: bool = True) -> tuple[Reason, ...]:
    """Return every reason for the chat's state: at least one.

    Only an operator sees the load of other owners and the number of workers.
    """
    return tuple(_iter_reasons(chat, for_operator=for_operator))


def _iter_reasons(chat: ChatDiagnostics, *, for_operator: bool) -> Iterator[Reason]:
    if not chat.status.is_known:
        yield _status_unknown(chat)
    match chat.status:
        case Status.WAITING:
            yield from _waiting(chat)
        case Status.PENDING:
            yield (
                _backing_off(chat)
                if chat.is_backing_off
                else _pending(chat, for_operator=for_operator)
            )
        case Status.RUNNING | Status.INTERRUPTING:
            yield from _leased(chat)
        case Status.REQUIRES_ACTION:
            yield from _awaiting_answers(chat)
        case Status.PARKED:
            yield _awaiting_agents(chat)
        case Status.ERROR:
            yield _failed(chat)
    yield from _besides(chat)


def _besides(chat: ChatDiagnostics) -> Iterator[Reason]:
    """Yield what is true of a chat in any status."""
    if chat.recoveries:
        times = "once" if chat.recoveries == 1 else f"{chat.recoveries} times"
        yield Reason(ReasonCode.RECOVERED, f"it lost its worker {times} without making progress")
    if chat.queue_length:
        yield _messages_queued(chat)
    if chat.compaction_requested:
        yield Reason(
            ReasonCode.COMPACTION_REQUESTED, "it is compacted before its model is called next"
        )
    if chat.expires_at:
        left = -chat.seconds_since(chat.expires_at)
        when = f"in {format_duration(left)}" if left > 0 else "within minutes"
        yield Reason(ReasonCode.EXPIRES, f"it expires: it is deleted {when}, once it is idle")


def _waiting(chat: ChatDiagnostics) -> Iterator[Reason]:
    if chat.archived:
        yield Reason(ReasonCode.ARCHIVED, "archived: it takes no messages until it is unarchived")
    yield Reason(
        ReasonCode.IDLE,
        f"idle for {_age(chat, chat.updated_at)}: there is nothing to do until a message comes",
    )


_PENDING_TEXTS: Final[Mapping[ReasonCode, str]] = {
    ReasonCode.HELD: "its owner has as many running chats as limits.max_running_per_owner allows",
    ReasonCode.NO_WORKER: "no worker is running",
    ReasonCode.MODEL_UNSERVED: "no running worker has its model",
    ReasonCode.NO_FREE_SLOTS: "no worker has a free slot",
    ReasonCode.CHATS_AHEAD: "other chats are ahead of it",
    ReasonCode.CLAIM_EXPECTED: "a worker should claim it soon",
}
"""Texts for owners, without a word about other owners and the number of workers."""


def _pending(chat: ChatDiagnostics, *, for_operator: bool) -> Reason:
    reason = _awaited_worker(chat)
    text = reason.text if for_operator else _PENDING_TEXTS[reason.code]
    pending = f"pending for {_age(chat, chat.pending_since)}" if chat.pending_since else "pending"
    return Reason(reason.code, f"{pending}: {text}")


def _awaited_worker(chat: ChatDiagnostics) -> Reason:
    workers = chat.workers
    if chat.held:
        code, text = ReasonCode.HELD, _PENDING_TEXTS[ReasonCode.HELD]
    elif not workers.alive:
        code, text = ReasonCode.NO_WORKER, "no worker is known to have ever sent a heartbeat"
        if workers.last_heartbeat_at:
            text = f"no worker has sent a heartbeat for {_age(chat, workers.last_heartbeat_at)}"
    elif not workers.with_model:
        code, text = ReasonCode.MODEL_UNSERVED, "the only live worker lacks its model"
        if workers.alive > 1:
            text = f"none of the {workers.alive} live workers has its model"
    elif not workers.with_free_slots:
        code, text = ReasonCode.NO_FREE_SLOTS, "the only worker with its model has no free slot"
        if workers.with_model > 1:
            text = f"none of the {workers.with_model} workers with its model has a free slot"
    elif chat.chats_ahead >= workers.free_slots:
        code = ReasonCode.CHATS_AHEAD
        ahead, free = _count(chat.chats_ahead, "chat"), _count(workers.free_slots, "free slot")
        text = f"{ahead} ahead of it, and {free}"
    else:
        code = ReasonCode.CLAIM_EXPECTED
        text = (
            f"{_count(workers.with_free_slots, 'worker')} with free slots should claim it at the "
            "next poll; if not, see their logs"
        )
    return Reason(code, text)


def _leased(chat: ChatDiagnostics) -> Iterator[Reason]:
    lease_left = chat.lease_left_seconds
    renewed_at = chat.worker.heartbeat_at if chat.worker else None
    if lease_left is not None and lease_left <= 0 and renewed_at is not None:
        yield Reason(
            ReasonCode.LEASE_EXPIRED,
            f"its worker has not renewed its lease for {_age(chat, renewed_at)}: "
            "another worker will take it over",
        )
    if chat.status is Status.INTERRUPTING:
        yield Reason(
            ReasonCode.STOPPING,
            f"a stop was requested {_age(chat, chat.updated_at)} ago; its worker has yet to store "
            "the answer so far",
        )
    yield _backing_off(chat) if chat.is_backing_off else _activity(chat)
    if chat.open_calls:
        yield _tool_calls_running(chat)


_MAX_NAMED: Final = 5


def _first_few(words: Sequence[str]) -> str:
    more = [f"{len(words) - _MAX_NAMED} more"] if len(words) > _MAX_NAMED else []
    return ", ".join([*words[:_MAX_NAMED], *more])


def _tool_calls_running(chat: ChatDiagnostics) -> Reason:
    """Return the calls that have no result, those that run first, with how long they do."""
    calls = sorted(chat.open_calls, key=lambda call: call.state is not CallState.STARTED)
    words = []
    for call in calls:
        again = f", try {call.tries}" if call.tries > 1 else ""
        running = f"for {format_duration(call.seconds)}{again}"
        words.append(
            f"{call.tool_name} ({running if call.state is CallState.STARTED else call.state})"
        )
    text = f"{_count(len(calls), 'tool call')} without a result: {_first_few(words)}"
    return Reason(ReasonCode.TOOL_CALLS_RUNNING, text)


def _activity(chat: ChatDiagnostics) -> Reason:
    activity = chat.activity
    if activity is None:
        text = "its activity is unknown until its worker's next heartbeat"
        return Reason(ReasonCode.ACTIVITY_UNKNOWN, text)
    as_of = f" (as of {_age(chat, chat.heartbeat_at)} ago)" if chat.heartbeat_at else ""
    if activity.stage is None:
        return Reason(ReasonCode.BETWEEN_STEPS, f"being worked on, between two steps{as_of}")
    text = f"in {activity.stage!r}"
    if activity.started_at:
        text += f" for {_age(chat, activity.started_at)}"
    if activity.deadline_at:
        text += f"; cancelled at {_clock_time(activity.deadline_at)} unless it makes progress"
    return Reason(ReasonCode.IN_STAGE, text + as_of)


def _backing_off(chat: ChatDiagnostics) -> Reason:
    # S101: a chat that backs off has a time for its next attempt.
    assert chat.next_attempt_at is not None  # noqa: S101
    text = f"waiting until {_clock_time(chat.next_attempt_at)} for attempt {chat.attempts + 1}"
    if chat.last_failure:
        text += f" after {_failure_kind(chat)}"
    return Reason(ReasonCode.BACKING_OFF, text)


def _awaiting_answers(chat: ChatDiagnostics) -> Iterator[Reason]:
    """Yield what the chat waits for. The first reason says until when."""
    kinds = [kind for kind in _ANSWERS if kind in chat.asked] or [QuestionKind.RESULT]
    for number, kind in enumerate(kinds):
        code, one, many = _ANSWERS[kind]
        calls = chat.asked.get(kind, 0)
        text = f"waiting for {many if calls != 1 else one}" + (f" ({calls})" if calls > 1 else "")
        yield Reason(code, text if number else text + _until(chat))


_ANSWERS: Final = {
    QuestionKind.APPROVAL: (
        ReasonCode.AWAITING_APPROVAL,
        "a person to allow or deny a tool call",
        "people to allow or deny tool calls",
    ),
    QuestionKind.INPUT: (
        ReasonCode.AWAITING_INPUT,
        "a person to answer a question",
        "people to answer questions",
    ),
    QuestionKind.RESULT: (
        ReasonCode.AWAITING_TOOL_RESULTS,
        "the client's tool result",
        "the client's tool results",
    ),
}


def _awaiting_agents(chat: ChatDiagnostics) -> Reason:
    """Return the chats that it waits for and that are not idle yet."""
    busy = [each for each in chat.awaited if each.status not in {None, *IDLE}]
    if not busy:
        text = "the chats that it waits for are idle: a process is about to end the wait"
        return Reason(ReasonCode.AWAITING_AGENTS, text)
    names = _first_few([f"{each.chat_id} {each.status}" for each in busy])
    one_of = "one of " if chat.awaits_any and len(busy) > 1 else ""
    text = f"waiting for {one_of}{_count(len(busy), 'chat')} ({names}){_until(chat)}"
    return Reason(ReasonCode.AWAITING_AGENTS, text)


def _until(chat: ChatDiagnostics) -> str:
    if chat.action_deadline is None:
        return ""
    remaining = -chat.seconds_since(chat.action_deadline)
    left = (
        f"another {format_duration(remaining)}"
        if remaining > 0
        else "which is past: a worker will end the wait"
    )
    return f" until {_clock_time(chat.action_deadline)}, {left}"


def _failed(chat: ChatDiagnostics) -> Reason:
    attempts = (chat.last_failure or {}).get("attempts")
    at_attempt = f" at attempt {attempts}" if isinstance(attempts, int) else ""
    return Reason(
        ReasonCode.FAILED,
        f"the last turn failed {_age(chat, chat.updated_at)} ago{at_attempt}: "
        f"{_failure_kind(chat)}; a retry or a message continues it",
    )


def _status_unknown(chat: ChatDiagnostics) -> Reason:
    return Reason(
        ReasonCode.STATUS_UNKNOWN,
        f"in the status {chat.status!s}, which a newer version of chatd stored: ask a process of it",
    )


def _messages_queued(chat: ChatDiagnostics) -> Reason:
    awaited = {
        Status.ERROR: "for a retry or a message",
        Status.PENDING: "for the pending turn to end",
        Status.REQUIRES_ACTION: "for the answers",
        Status.PARKED: "for the wait to end",
    }.get(chat.status, "for this turn to end")
    verb = "waits" if chat.queue_length == 1 else "wait"
    return Reason(
        ReasonCode.MESSAGES_QUEUED,
        f"{_count(chat.queue_length, 'queued message')} {verb} {awaited}",
    )


def _failure_kind(chat: ChatDiagnostics) -> str:
    kind = str((chat.last_failure or {}).get("kind") or "").strip()
    return kind or "an unknown failure"


def _age(chat: ChatDiagnostics, moment: datetime) -> str:
    return format_duration(max(chat.seconds_since(moment), 0))


def _clock_time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
