"""Rules of chats: a whole journal, one worker an epoch, and nothing left running."""

from collections.abc import Callable
from typing import Any

from support.invariants import check_calls, check_journal, check_messages, check_queue

from chaos.audit.rules import Findings, described, excerpt, rule
from chaos.evidence import FINAL_STATUSES, Evidence
from chatd.domain.transitions import WORKER_TRANSITIONS


def _checked(
    evidence: Evidence, check: Callable[..., None], arguments: Callable[[str], tuple[Any, ...]]
) -> Findings:
    for chat_id in evidence.chats:
        try:
            check(*arguments(chat_id))
        except (AssertionError, KeyError, IndexError, ValueError) as error:
            yield {
                "chat": chat_id,
                "why": f"{type(error).__name__}: {str(error)[:500]}",
                "journal": excerpt(evidence, chat_id),
            }


@rule
def journals_have_no_gap_and_match_the_row(evidence: Evidence) -> Findings:
    """Find journals with a gap, an illegal transition, or an end that is not the chat's row."""
    journal = evidence.journal
    yield from _checked(
        evidence, check_journal, lambda chat: (evidence.chats[chat], journal.get(chat, []))
    )


@rule
def journals_name_what_is_stored(evidence: Evidence) -> Findings:
    """Find messages and queued messages that differ from what the journal says of them."""
    e = evidence
    yield from _checked(
        e, check_messages, lambda chat: (e.journal.get(chat, []), e.messages.get(chat, []))
    )
    yield from _checked(
        e,
        check_queue,
        lambda chat: (e.chats[chat], e.journal.get(chat, []), e.queue.get(chat, [])),
    )


@rule
def tool_calls_have_one_result(evidence: Evidence) -> Findings:
    """Find tool calls without a result, with two, or out of their order."""
    e = evidence
    yield from _checked(
        e,
        check_calls,
        lambda chat: (e.chats[chat], e.messages.get(chat, []), e.tool_calls.get(chat, [])),
    )


@rule
def epochs_have_one_worker(evidence: Evidence) -> Findings:
    """Find writes of a worker in an epoch that another worker claimed."""
    for chat_id, rows in evidence.journal.items():
        claimed: dict[int, str] = {}
        for row in rows:
            if row["transition"] == "claim":
                if claimed.setdefault(row["epoch"], row["worker_id"]) != row["worker_id"]:
                    yield {"chat": chat_id, "version": row["version"], "second_claim": True}
            elif row["transition"] in WORKER_TRANSITIONS and row["worker_id"] not in {
                None,
                claimed.get(row["epoch"]),
            }:
                yield {
                    "chat": chat_id,
                    "version": row["version"],
                    "claimed_by": claimed.get(row["epoch"]),
                    "written_by": row["worker_id"],
                    "journal": excerpt(evidence, chat_id),
                }


@rule
def nothing_is_left_running(evidence: Evidence) -> Findings:
    """Find chats that never became idle although all faults had ended."""
    for chat_id, chat in evidence.chats.items():
        if chat["status"] not in FINAL_STATUSES or chat["worker_id"] is not None:
            yield {
                "chat": chat_id,
                "status": chat["status"],
                "worker": chat["worker_id"],
                "journal": excerpt(evidence, chat_id),
            }


@rule
def created_chats_exist_once(evidence: Evidence) -> Findings:
    """Find chats that were created and not deleted but are not there, or that nobody created."""
    deleted = evidence.deleted_chats()
    created = [r for r in evidence.requests if r.operation in {"create", "fork"}]
    known: set[str] = set()
    for request in created:
        if not request.accepted:
            continue
        chat_id = request.response["id"]
        if chat_id in known or (chat_id not in evidence.chats and chat_id not in deleted):
            yield described(request) | {"chat": chat_id, "answered_twice": chat_id in known}
        known.add(chat_id)
    uncertain = sum(not request.accepted for request in created)
    unknown = sorted(evidence.chats.keys() - known - evidence.of_agents().keys())
    if len(unknown) > uncertain:
        yield {"chats_that_nobody_created": unknown}


@rule
def deleted_chats_leave_nothing(evidence: Evidence) -> Findings:
    """Find what is left of chats that were deleted."""
    for request in evidence.requests:
        if request.operation == "delete" and request.accepted and request.chat_id:
            tables = {
                "chats": evidence.chats,
                "journal": evidence.journal,
                "messages": evidence.messages,
                "queue": evidence.queue,
                "tool_calls": evidence.tool_calls,
            }
            left = [name for name, rows in tables.items() if request.chat_id in rows]
            if left:
                yield described(request) | {"left": left}


@rule
def descriptions_are_the_last_ones(evidence: Evidence) -> Findings:
    """Find chats whose title, labels or archived flag is not that of the last change."""
    for chat_id, rows in evidence.journal.items():
        changes = [row["data"] for row in rows if "archived" in row["data"]]
        chat = evidence.chats[chat_id]
        stored = {name: chat[name] for name in ("title", "labels", "archived")}
        if changes and {name: changes[-1][name] for name in stored} != stored:
            yield {"chat": chat_id, "stored": stored, "journal": excerpt(evidence, chat_id)}
