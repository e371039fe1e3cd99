"""The comparison of a client's list with the stored history, by content. It does no I/O.

A client shows what it was sent: one text for a turn, without the calls that the server ran, and of an
answer that was stopped perhaps less than was stored. So both are compared as it shows them.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from chatd.adapters.completions.messages import Conversation
from chatd.domain.message import Message, NewMessage, Part, Role, text_of

_INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message as a client shows it. Messages of the same turn without calls between them are one."""

    role: Role
    text: str = ""
    files: tuple[str, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False
    """True if the answer was stopped, so that a client may show less of it."""


class Match(Enum):
    """Relation of a client's list to the stored history."""

    NEXT = auto()
    """All of it, and one message more."""
    REPEATED = auto()
    """All of it but the last answer, so the request was made before."""
    OTHER = auto()
    """Neither: the client changed, shortened or branched it."""


def compare(conversation: Conversation, stored: Sequence[Message]) -> Match:
    """Return what a client's list is of the stored history, system prompts included."""
    messages = conversation.messages()
    known = _known_calls(messages)
    given = [*_prompt(conversation.system_prompt), *_entries(messages, known)]
    there = _entries(stored, known)
    before = _matched(given[:-1], there)
    if before == len(there):
        return Match.NEXT
    if before is None or not _are_equal(given[-1], there[before]):
        return Match.OTHER
    if any(each.role in {Role.USER, Role.SYSTEM} for each in there[before + 1 :]):
        return Match.OTHER
    return Match.REPEATED


def fingerprint(conversation: Conversation, answer: str = "") -> str:
    """Return what is equal for lists that a client shows alike, and for the same ``answer`` to them."""
    known = _known_calls(conversation.messages())
    entries = [*_prompt(conversation.system_prompt), *_entries(conversation.messages(), known)]
    return hashlib.sha256(repr((entries, answer)).encode("utf-8", "surrogatepass")).hexdigest()


def answered_steps(conversation: Conversation, stored: Sequence[Message]) -> int:
    """Return the number of responses of the last stored turn that the client has sent results of."""
    ids = {result.tool_call_id for result in conversation.results}
    steps = answered = 0
    for message in stored:
        if message.role is Role.USER:
            steps = answered = 0
        elif message.role is Role.ASSISTANT:
            steps += 1
            if any(part.get("tool_call_id") in ids for part in message.content):
                answered = steps
    return answered


def _matched(given: Sequence[_Entry], there: Sequence[_Entry]) -> int | None:
    """Return how many of the stored messages are those that are given. None: they are others."""
    place = 0
    for each in given:
        while place < len(there) and there[place].is_cut and each.role is not Role.ASSISTANT:
            place += 1  # The client shows nothing of an answer that was stopped at once.
        if place == len(there) or not _are_equal(each, there[place]):
            return None
        place += 1
    if place + 1 == len(there) and there[place].is_cut:
        return place + 1
    return place


def _are_equal(given: _Entry, stored: _Entry) -> bool:
    if stored.is_cut and given.role is stored.role:
        shorter, longer = sorted([given.text, stored.text], key=len)
        return longer.startswith(shorter)
    return given == stored


def _known_calls(messages: Sequence[NewMessage]) -> Collection[str]:
    """Return the ids of the calls that a client shows."""
    parts = (part for message in messages for part in message.content)
    return {part["tool_call_id"] for part in parts if part["type"] == "tool-call"}


def _prompt(system_prompt: str | None) -> list[_Entry]:
    return [_Entry(Role.SYSTEM, system_prompt.strip())] if system_prompt else []


def _entries(messages: Sequence[Message | NewMessage], known: Collection[str]) -> list[_Entry]:
    """Return messages as a client shows them that knows the calls ``known``."""
    entries: list[_Entry] = []
    for message in messages:
        each = _one(message, known)
        last = entries[-1] if entries else None
        if last and last.role is each.role is Role.ASSISTANT and not last.calls:
            entries[-1] = replace(each, text=last.text + each.text)
        elif each.role in {Role.USER, Role.SYSTEM} or each.text or each.calls or each.results:
            entries.append(each)
    return [replace(each, text=each.text.strip()) for each in entries]


def _one(message: Message | NewMessage, known: Collection[str]) -> _Entry:
    def of_client(part_type: str) -> list[Part]:
        return [
            part
            for part in message.content
            if part["type"] == part_type and part["tool_call_id"] in known
        ]

    return _Entry(
        role=message.role,
        text=text_of(message.content),
        files=tuple(part["file_id"] for part in message.content if part["type"] == "file"),
        calls=tuple((part["tool_call_id"], part["tool_name"]) for part in of_client("tool-call")),
        results=tuple(
            sorted((part["tool_call_id"], str(part["result"])) for part in of_client("tool-result"))
        ),
        is_cut=message.finish_reason == _INTERRUPTED,
    )
