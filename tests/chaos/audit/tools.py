"""Rules of tools: how often they run and what becomes of their results."""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID, uuid5

from chaos.audit.rules import Findings, excerpt, rule
from chaos.evidence import FINAL_STATUSES, Evidence, Row
from chaos.families import answer_that_sent
from chaos.offered_tools import POLICIES, server_of
from chaos.records import Effect
from chatd.domain.tool_call import MAX_TRIES
from chatd.domain.tool_call_errors import OUTCOME_UNKNOWN


def rows_by_key(evidence: Evidence) -> dict[str, Row]:
    """Return the calls of server tools by the key that their requests have. Those of MCP have their id."""
    return {
        row["tool_call_id"]
        if server_of(row["tool_name"])
        else str(uuid5(UUID(chat_id), f"{row['message_id']}/{row['tool_call_id']}")): row
        for chat_id, rows in evidence.tool_calls.items()
        for row in rows
        if row["executor"] == "server"
    }


def effects_of_calls(evidence: Evidence) -> Iterator[tuple[Row, Effect]]:
    """Yield each effect with the call that had it."""
    rows = rows_by_key(evidence)
    for effect in evidence.effects:
        if (row := rows.get(effect.key)) is not None:
            yield row, effect


def call_described(row: Row, **more: object) -> dict[str, object]:
    names = ("message_id", "tool_call_id", "tool_name", "state", "tries", "epoch", "is_error")
    return {"chat": row["chat_id"], **{name: row[name] for name in names}, **more}


@rule
def tools_run_as_often_as_they_may(evidence: Evidence) -> Findings:
    """Find calls that had more effects than their policy allows, or than the ledger has starts."""
    counts = Counter((effect.key, effect.tool) for effect in evidence.effects)
    rows = rows_by_key(evidence)
    for (key, tool), effects in counts.items():
        row = rows.get(key)
        most = 1 if POLICIES[tool] == "at_most_once" else MAX_TRIES
        if effects > min(most, most if row is None else row["tries"]):
            yield {
                "tool": tool,
                "effects": [effect for effect in evidence.effects if effect.key == key],
                "call": None if row is None else call_described(row),
            }


def _asked_by_client(evidence: Evidence, name: str) -> str:
    """Return the message of a client that led to a message, which is that itself or one to an agent."""
    while (number := answer_that_sent(name)) is not None:
        name = next(call.asked for call in evidence.model_calls if call.number == number)
    return name


@rule
def effects_belong_to_calls(evidence: Evidence) -> Findings:
    """Find effects of calls that no ledger has, although their chat was not deleted."""
    rows, deleted, forks = rows_by_key(evidence), evidence.deleted_chats(), evidence.forks()
    chats = {
        request.text.partition(" ")[0]: request.chat_id or (request.response or {}).get("id")
        for request in evidence.requests
        if request.text is not None
    }
    for effect in evidence.effects:
        row = rows.get(effect.key)
        chat_id = chats.get(_asked_by_client(evidence, effect.asked)) or ""
        gone = deleted & {chat_id, *forks.get(chat_id, ())}
        if (row is None and not gone) or (row is not None and row["tool_name"] != effect.tool):
            yield {"effect": effect, "call": None if row is None else call_described(row)}


@rule
def effects_are_of_chosen_tools(evidence: Evidence) -> Findings:
    """Find effects of tools that their chat did not choose."""
    for row, effect in effects_of_calls(evidence):
        chosen = evidence.chats[row["chat_id"]]["server_tools"] or {}
        server = server_of(effect.tool)
        names = chosen.get("mcp" if server else "http")
        if names is not None and (server or effect.tool) not in names:
            yield call_described(row, effect=effect, chosen=chosen)


@rule
def ledgers_are_closed_at_rest(evidence: Evidence) -> Findings:
    """Find calls without a result in chats where nothing is under way any more."""
    for chat_id, rows in evidence.tool_calls.items():
        if evidence.chats[chat_id]["status"] in FINAL_STATUSES:
            for row in rows:
                if row["completed_at"] is None or row["state"] != "closed" or not row["answer"]:
                    yield call_described(row, journal=excerpt(evidence, chat_id))


@rule
def results_are_what_the_tools_answered(evidence: Evidence) -> Findings:
    """Find results that are not errors and that no effect of their call gave."""
    given: dict[str, list[Effect]] = {}
    for effect in evidence.effects:
        given.setdefault(effect.key, []).append(effect)
    for key, row in rows_by_key(evidence).items():
        if row["completed_at"] is None or row["is_error"] or row["tool_name"] not in POLICIES:
            continue
        effects = given.get(key, [])
        result = row["answer"]["result"]
        if not any(
            effect.end == "answered"
            and (result.startswith(effect.text) if effect.how == "large" else result == effect.text)
            for effect in effects
        ):
            yield call_described(row, result=result[:100], effects=effects)


@rule
def stored_results_are_kept(evidence: Evidence) -> Findings:
    """Find results that were stored and are not there any more, in the ledger or in the history."""
    for chat_id, entries in evidence.journal.items():
        rows = {row["tool_call_id"]: row for row in evidence.tool_calls.get(chat_id, ())}
        results = {
            part["tool_call_id"]: part
            for message in evidence.messages.get(chat_id, ())
            for part in message["content"]
            if part["type"] == "tool-result"
        }
        for entry in entries:
            for closed in entry["data"].get("closed", ()):
                call_id, is_error = closed["tool_call_id"], closed["is_error"]
                row, part = rows.get(call_id), results.get(call_id)
                kept = None if row is None else row["answer"]
                if not kept or kept["is_error"] != is_error or (part and part != kept):
                    yield {
                        "chat": chat_id,
                        "version": entry["version"],
                        "stored": closed,
                        "ledger": kept,
                        "history": part,
                        "journal": excerpt(evidence, chat_id),
                    }


@rule
def unknown_outcomes_have_a_lost_worker(evidence: Evidence) -> Findings:
    """Find calls whose outcome is unknown although the worker that started them had them to the end."""
    for chat_id, rows in evidence.tool_calls.items():
        for row in rows:
            if row["completed_at"] is None or row["answer"]["result"] != OUTCOME_UNKNOWN:
                continue
            if not any(
                entry["epoch"] > row["epoch"] and entry["created_at"] <= row["completed_at"]
                for entry in evidence.journal[chat_id]
            ):
                yield call_described(row, journal=excerpt(evidence, chat_id))
