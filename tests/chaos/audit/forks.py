"""Rules of forks and regenerated answers: a copy is whole, and one answer takes the place of another."""

from collections.abc import Iterator
from typing import Any

from chaos.audit.rules import Findings, described, excerpt, rule
from chaos.evidence import Evidence, Row, is_summary
from chaos.records import Request

_COPIED = ("role", "content", "visibility", "finish_reason")


def _calls(row: Row) -> bool:
    return any(part["type"] == "tool-call" for part in row["content"])


def _history(messages: list[Row], version: int, up_to: int | None) -> list[Any]:
    """Return what a fork at a version of its source copies: up to a message, calls with their results."""
    shown = [
        row
        for row in messages
        if row["version"] <= version
        and (row["superseded_version"] is None or row["superseded_version"] > version)
    ]
    length = len([row for row in shown if up_to is None or row["id"] <= up_to])
    if length and _calls(shown[length - 1]):
        has_results = length < len(shown) and shown[length]["role"] == "tool"
        length += 1 if has_results else -1
    return _copied(shown[:length])


def _copied(rows: list[Row]) -> list[Any]:
    """Return what a copy has of messages, and how many of them each summary covers."""
    return [
        [
            *(row[name] for name in _COPIED),
            sum(one["id"] <= row["covers_until"] for one in rows) if is_summary(row) else None,
        ]
        for row in rows
    ]


def _made_forks(evidence: Evidence) -> Iterator[tuple[Request, str]]:
    """Yield the requests that forked a chat that is there still, with the id of the fork."""
    for request in evidence.requests:
        if request.operation == "fork" and request.accepted:
            fork = request.response["id"]
            if fork in evidence.chats and request.chat_id in evidence.chats:
                yield request, fork


@rule
def forks_have_the_history_of_their_source(evidence: Evidence) -> Findings:
    """Find forks whose messages are not those that their source had, up to the point that was asked."""
    for request, fork in _made_forks(evidence):
        source = request.chat_id or ""
        copied = _copied(list(filter(evidence.is_copied, evidence.messages.get(fork, ()))))
        messages, up_to = evidence.messages.get(source, []), request.body.get("from_message_id")
        versions = range(1, evidence.chats[source]["version"] + 1)
        if not any(_history(messages, version, up_to) == copied for version in versions):
            yield described(request) | {
                "fork": fork,
                "up_to": up_to,
                "copied": copied,
                "journal": excerpt(evidence, source),
            }


@rule
def answers_are_regenerated_once(evidence: Evidence) -> Findings:
    """Find requests to regenerate that were carried out twice or not at all, or dropped their question."""
    for chat_id, rows in evidence.journal.items():
        asked = [
            r for r in evidence.requests if (r.operation, r.chat_id) == ("regenerate", chat_id)
        ]
        done = [row for row in rows if row["transition"] == "regenerate"]
        least = sum(request.accepted for request in asked)
        most = sum(request.accepted or request.lost_attempts > 0 for request in asked)
        messages = {row["id"]: row for row in evidence.messages.get(chat_id, ())}
        for row in done:
            question = messages.get(row["data"]["reset_from"] - 1)
            if (
                question is None
                or question["role"] != "user"
                or is_summary(question)
                or (question["superseded_version"] or row["version"] + 1) <= row["version"]
            ):
                yield {"chat": chat_id, "version": row["version"], "question": question}
        if not least <= len(done) <= most + sum(r.status is None for r in asked):
            yield {
                "chat": chat_id,
                "accepted": least,
                "carried_out": len(done),
                "journal": excerpt(evidence, chat_id),
            }
