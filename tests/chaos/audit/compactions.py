"""Rules of compactions: each is stored whole and once, and covers whole rounds of calls."""

import re
from collections import Counter
from collections.abc import Iterator

from chaos.audit.rules import Findings, excerpt, rule
from chaos.evidence import FINAL_STATUSES, Evidence, Row, is_notice, is_summary, text_of

_SUMMARY = re.compile(r"<summary>\n(summary (\d+):.*)\n</summary>")


def _summaries(evidence: Evidence) -> Iterator[tuple[str, Row, list[Row]]]:
    """Yield each summary with the id of its chat and the messages that stood before it then."""
    for chat_id, messages in evidence.messages.items():
        for summary in filter(is_summary, messages):
            yield (
                chat_id,
                summary,
                [
                    row
                    for row in messages
                    if row["id"] < summary["id"]
                    and (row["superseded_version"] or summary["version"] + 1) > summary["version"]
                ],
            )


@rule
def compactions_are_stored_whole(evidence: Evidence) -> Findings:
    """Find compactions without their one summary and one notice, and summaries without a compaction."""
    for chat_id, entries in evidence.journal.items():
        stored: dict[int, list[Row]] = {}
        for row in evidence.messages.get(chat_id, ()):
            if (is_summary(row) or is_notice(row)) and not evidence.is_copied(row):
                stored.setdefault(row["version"], []).append(row)
        for entry in entries:
            rows = stored.pop(entry["version"], [])
            has_messages = entry["transition"] == "compact" and "messages" in entry["data"]
            covered = [row["covers_until"] for row in filter(is_summary, rows)]
            wanted = [entry["data"].get("compacted_until")] if has_messages else []
            shown_to = [row["visibility"] for row in rows]
            if covered != wanted or shown_to != ["model", "user"] * has_messages:
                yield {
                    "chat": chat_id,
                    "version": entry["version"],
                    "covered": covered,
                    "shown_to": shown_to,
                    "journal": excerpt(evidence, chat_id),
                }
        if stored:
            yield {"chat": chat_id, "versions_without_an_entry": sorted(stored)}


@rule
def summaries_cover_more_and_more(evidence: Evidence) -> Findings:
    """Find summaries that cover no more than an earlier one, or end at no message of the history."""
    for chat_id, summary, before in _summaries(evidence):
        earlier = [row["covers_until"] for row in filter(is_summary, before)]
        ids = {row["id"] for row in before if not is_summary(row)}
        if summary["covers_until"] <= max(earlier, default=0) or summary["covers_until"] not in ids:
            yield {
                "chat": chat_id,
                "summary": summary["id"],
                "covers_until": summary["covers_until"],
                "earlier": earlier,
                "journal": excerpt(evidence, chat_id),
            }


@rule
def summaries_are_what_the_model_wrote(evidence: Evidence) -> Findings:
    """Find summaries that are not the whole text of a call of the model, and texts stored twice."""
    calls = {call.number: call.text for call in evidence.model_calls}
    stored: Counter[int] = Counter()
    for chat_id, summary, _ in _summaries(evidence):
        found = _SUMMARY.search(text_of(summary["content"][:1]))
        number = int(found[2]) if found else 0
        stored[number] += not evidence.is_copied(summary)
        if found is None or calls.get(number) != found[1]:
            yield {
                "chat": chat_id,
                "summary": summary["id"],
                "stored": text_of(summary["content"]),
                "sent": calls.get(number),
                "journal": excerpt(evidence, chat_id),
            }
    yield from ({"model_call": call, "stored": n} for call, n in stored.items() if n > 1)


def _part_ids(rows: list[Row], kind: str) -> Counter[str]:
    return Counter(
        part["tool_call_id"] for row in rows for part in row["content"] if part["type"] == kind
    )


@rule
def summaries_end_between_calls(evidence: Evidence) -> Findings:
    """Find summaries that cover a call without its result, or a result without its call."""
    for chat_id, summary, before in _summaries(evidence):
        covered = [row for row in before if row["id"] <= summary["covers_until"]]
        left = [row for row in before if row["id"] > summary["covers_until"]]
        for rows in (covered, left):
            calls, results = _part_ids(rows, "tool-call"), _part_ids(rows, "tool-result")
            if calls != results:
                yield {
                    "chat": chat_id,
                    "summary": summary["id"],
                    "covers_until": summary["covers_until"],
                    "calls_without_results": list(calls - results),
                    "results_without_calls": list(results - calls),
                    "journal": excerpt(evidence, chat_id),
                }


_STARTS_WORK = frozenset(
    {"send", "edit", "regenerate", "promote", "retry", "clear", "answer_action", "interrupt"}
)
_ANSWERS = frozenset({"commit_step", "finish_turn", "record_retry", "fail"})


@rule
def compactions_leave_stopped_what_was_stopped(evidence: Evidence) -> Findings:
    """Find turns that answer a message that was stopped, although a client only had the chat compacted."""
    for chat_id, entries in evidence.journal.items():
        is_stopped = is_asked = False
        for entry in entries:
            transition, data = entry["transition"], entry["data"]
            if transition == "request_compaction":
                is_asked = is_asked or is_stopped
            elif _stops(entry):
                is_stopped, is_asked = entry["status"] == "waiting", False
            elif transition in _STARTS_WORK or "promoted" in data:
                is_stopped = is_asked = False
            elif is_asked and transition in _ANSWERS:
                if transition == "commit_step" or data.get("messages"):
                    yield {
                        "chat": chat_id,
                        "version": entry["version"],
                        "journal": excerpt(evidence, chat_id),
                    }
                is_stopped = is_asked = False


def _stops(entry: Row) -> bool:
    transition = entry["transition"]
    return transition in {"finish_interrupt", "reap_interrupt"} or (
        transition == "interrupt" and entry["status"] == "waiting"
    )


@rule
def done_compactions_are_forgotten(evidence: Evidence) -> Findings:
    """Find idle chats whose turn of a compaction has not ended. One asked for later waits for a message."""
    for chat_id, chat in evidence.chats.items():
        request = chat["compaction_request"] or {}
        if "is_done" in request and chat["status"] in FINAL_STATUSES:
            yield {
                "chat": chat_id,
                "request": request,
                "journal": excerpt(evidence, chat_id),
            }
