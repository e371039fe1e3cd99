"""The journal of a chat as a time line: each transition in words, who made it, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chatd.domain.duration import format_duration
from chatd.domain.transitions import Transition

WORDS: Final[Mapping[Transition, str]] = {
    Transition.CREATE: "Created",
    Transition.FORK: "Made from another chat",
    Transition.SEND: "A message was sent",
    Transition.APPEND: "Messages were added without an answer",
    Transition.INTERRUPT: "A stop was requested",
    Transition.ANSWER_ACTION: "Questions were answered",
    Transition.SUBMIT_TOOL_RESULTS: "The client sent results of tools",
    Transition.EDIT: "A message was edited, and what followed it hidden",
    Transition.REGENERATE: "Another answer was asked for",
    Transition.REMOVE_QUEUED: "A queued message was removed",
    Transition.PROMOTE: "A queued message was moved to the front",
    Transition.RETRY: "A retry was requested",
    Transition.CLEAR: "The history was cleared",
    Transition.SET_TITLE: "A model wrote the title",
    Transition.REQUEST_COMPACTION: "A compaction was requested",
    Transition.DESCRIBE: "Title, labels or permissions were changed",
    Transition.ARCHIVE: "Archived",
    Transition.UNARCHIVE: "Unarchived",
    Transition.CLAIM: "A worker claimed the chat",
    Transition.COMMIT_STEP: "A step was stored",
    Transition.CLOSE_CALLS: "Results of tools were stored",
    Transition.COMPACT: "The history was compacted",
    Transition.RECORD_RETRY: "An attempt failed, and is made again",
    Transition.DEFER: "An attempt failed, and is made again later",
    Transition.REQUIRE_ACTION: "The chat asks for answers",
    Transition.PARK: "The chat waits for its agents",
    Transition.FINISH_TURN: "The turn ended",
    Transition.FINISH_INTERRUPT: "The turn was stopped",
    Transition.FAIL: "The turn failed",
    Transition.RELEASE: "The worker gave the chat back",
    Transition.REAP: "The chat was taken from a worker that died",
    Transition.REAP_INTERRUPT: "A stop was completed for a worker that died",
    Transition.EXPIRE_ACTION: "The time for answers was over",
    Transition.WAKE: "The agents are done",
    Transition.FAIL_UNSERVED: "No worker has the model",
}
"""Every transition in words."""

_FAILURES: Final = frozenset(
    {
        Transition.FAIL,
        Transition.FAIL_UNSERVED,
        Transition.RECORD_RETRY,
        Transition.DEFER,
        Transition.REAP,
        Transition.REAP_INTERRUPT,
    }
)
_LONG_SECONDS: Final = 1.0
"""A pause between two entries that is worth a word."""
_SHORT_ID: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One journal entry, as the page shows it."""

    version: int
    at: str
    after: str | None
    """Time since the entry before, if it was long."""
    transition: str
    words: str
    status: str
    who: str
    is_failure: bool
    is_claim: bool
    epoch: int
    facts: Sequence[str]
    calls: Sequence[Mapping[str, Any]]
    message_ids: Sequence[int]
    data: Mapping[str, Any]


def entries_of(
    journal: Sequence[Mapping[str, Any]],
    calls: Sequence[Mapping[str, Any]],
    *,
    before: Mapping[str, Any] | None = None,
) -> Sequence[Entry]:
    """Return the entries of a journal, oldest first, each with the calls of its messages.

    ``before`` is the entry before the first one, if it is known.
    """
    by_message: dict[int, list[Mapping[str, Any]]] = {}
    for call in calls:
        by_message.setdefault(call["message_id"], []).append(call)
    shown, previous = [], before
    lost_in: int | None = None
    for each in journal:
        transition = Transition.read(each["transition"])
        is_takeover = transition is Transition.CLAIM and lost_in == each["epoch"] - 1
        lost_in = each["epoch"] if transition is Transition.REAP else None
        message_ids = [
            message for message in each["data"].get("messages") or () if isinstance(message, int)
        ]
        words = WORDS.get(transition, each["transition"])
        shown.append(
            Entry(
                version=each["version"],
                at=each["created_at"],
                after=_pause(previous, each),
                transition=each["transition"],
                words="Another worker took the chat over" if is_takeover else words,
                status=each["status"],
                who=_who(each, transition),
                is_failure=transition in _FAILURES,
                is_claim=transition is Transition.CLAIM,
                epoch=each["epoch"],
                facts=[*_facts(each["data"])],
                calls=[call for message in message_ids for call in by_message.get(message, ())],
                message_ids=message_ids,
                data=each["data"],
            )
        )
        previous = each
    return shown


def _pause(before: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> str | None:
    if before is None:
        return None
    moments = (datetime.fromisoformat(each["created_at"]) for each in (before, entry))
    earlier, later = moments
    seconds = (later - earlier).total_seconds()
    return f"after {format_duration(seconds)}" if seconds >= _LONG_SECONDS else None


def _who(entry: Mapping[str, Any], transition: Transition) -> str:
    """Return who made a transition: a caller, by owner and token, or a worker."""
    actor = entry["actor"]
    if actor is not None:
        token = f", token {actor['token_id'][:_SHORT_ID]}" if actor["token_id"] else ""
        return f"{actor['owner_id']}{token}"
    if entry["worker_id"]:
        return f"worker {entry['worker_id'][:_SHORT_ID]}"
    return "an operator" if transition in {Transition.ARCHIVE, Transition.INTERRUPT} else "chatd"


def _facts(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an entry's data say, in words."""
    failure = data.get("failure")
    if isinstance(failure, dict):
        yield f"Attempt {data.get('attempt')}: {failure.get('message')}"
    if isinstance(data.get("delay_seconds"), int | float):
        yield f"The next attempt is {format_duration(data['delay_seconds'], decimals=1)} later."
    if data.get("last_error"):
        yield str(data["last_error"])
    if data.get("reason"):
        yield f"Reason: {data['reason']}"
    for call in data.get("calls") or ():
        kind = str((call.get("question") or {}).get("kind"))
        yield f"Asks for {_ASKED.get(kind, 'an answer')}: {call.get('tool_name')}"
    for answer in data.get("answered") or ():
        yield f"{answer.get('tool_name')}: {answer.get('decision')}"
    if data.get("queued"):
        yield f"It was queued: {_messages(data.get('queue_length'))} waiting."
    elif data.get("queue_length"):
        yield f"{_messages(data['queue_length'])} waiting in the queue."
    if data.get("promoted"):
        yield "The next queued message is being answered."


_ASKED: Final = {
    "approval": "leave to run a tool",
    "input": "an answer of a person",
    "result": "the client's result of a tool",
}


def _messages(number: object) -> str:
    return "1 message" if number == 1 else f"{number} messages"
