"""The trace of a response in the journal: answers that became void, and calls that were asked.

Neither is in the messages. Once the journal has forgotten them, numbers of events begin with attempt 0, and
the calls that a client ran are known from the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chatd.adapters.turn_items import ActionRequired
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.moment import parse_moment
from chatd.domain.question import CLIENT_RUNS, action
from chatd.domain.stream_events import resets_preview
from chatd.domain.tool_call import Executor
from chatd.domain.transitions import Transition
from chatd.store.reads import ChatReader

_PAGE: Final = 1_000
_MAX_ENTRIES: Final = 20_000
"""Journal entries of one turn that are read. A turn has some three for each step."""
_MAX_CALLS: Final = 1_000
"""Calls of one turn that are read from the ledger."""


@dataclass(frozen=True, slots=True)
class ResponseTrace:
    """Everything of a response that only the journal has."""

    void_versions: Sequence[int] = ()
    """Versions of the chat at which an answer became void."""
    asked: Sequence[tuple[int, Sequence[Mapping[str, Any]]]] = ()
    """Versions at which the turn waited for answers, and the calls that it asked."""
    client_calls: frozenset[str] = field(default=frozenset())
    """Ids of calls that the client runs, if ``asked`` is not known any more."""

    def voids(self, messages: Sequence[Message]) -> list[int]:
        """Return of each void answer the number of steps that were stored before it."""
        steps = [message.version for message in messages if message.role is Role.ASSISTANT]
        return [sum(step < version for step in steps) for version in self.void_versions]

    def action_of(self, message: Message) -> ActionRequired | None:
        """Return what the turn asked about the calls of a message. None: nothing."""
        calls = {
            part["tool_call_id"]: part for part in message.content if part["type"] == "tool-call"
        }
        for version, asked in self.asked:
            if version >= message.version and any(call["tool_call_id"] in calls for call in asked):
                deadline = min(parse_moment(call["expires_at"]) for call in asked)
                return ActionRequired([_action(call, calls) for call in asked], deadline)
        run_by_client = [part for key, part in calls.items() if key in self.client_calls]
        if not run_by_client:
            return None
        question = CLIENT_RUNS.to_json()
        at = message.created_at
        return ActionRequired([action(part, question, at) for part in run_by_client], at)


def _action(call: Mapping[str, Any], calls: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    expires_at: datetime = parse_moment(call["expires_at"])
    return action(calls.get(call["tool_call_id"], call), call["question"], expires_at)


async def read_trace(
    reads: ChatReader, chat_id: UUID, messages: Sequence[Message], *, after: int, until: int
) -> ResponseTrace:
    """Return the trace of a response between two versions of its chat.

    ``messages`` are those of its turn.
    """
    if until <= after:
        return ResponseTrace()
    entries: list[JournalEntry] = []
    position = after
    while len(entries) < _MAX_ENTRIES and position < until:
        page = await reads.journal_entries(chat_id, after=position, limit=_PAGE)
        entries += [entry for entry in page if entry.version <= until]
        if len(page) < _PAGE:
            break
        position = page[-1].version
    answers = {message.version for message in messages if message.role is not Role.USER}
    voids = [
        entry.version
        for entry in entries
        if resets_preview(entry, stores_answer=entry.version in answers)
    ]
    asked = [
        (entry.version, entry.data["calls"])
        for entry in entries
        if entry.transition is Transition.REQUIRE_ACTION
    ]
    if entries and entries[0].version == after + 1:
        return ResponseTrace(voids, asked)
    calls = await reads.tool_calls(chat_id, messages[0].id if messages else 0, limit=_MAX_CALLS)
    run_by_client = frozenset(
        call.tool_call_id for call in calls.items if call.executor is Executor.CLIENT
    )
    return ResponseTrace(voids, asked, run_by_client)
