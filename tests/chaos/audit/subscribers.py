"""Rules of streams: what a subscriber was shown is what is stored, whatever cut its streams."""

from typing import Any

from chaos.audit.rules import Findings, excerpt, rule
from chaos.evidence import Evidence, Row, is_summary
from chaos.records import Picture


def _shown(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (m["id"], m["role"], m["content"], m["finish_reason"], m.get("compacted", False))
        for m in messages
    ]


def _visible(evidence: Evidence, chat_id: str) -> list[Row]:
    rows = [row for row in evidence.messages.get(chat_id, ()) if row["superseded_version"] is None]
    until = max((row["covers_until"] for row in filter(is_summary, rows)), default=0)
    return [
        row | {"compacted": row["role"] != "system" and row["id"] <= until}
        for row in rows
        if row["visibility"] != "model"
    ]


def _differences(evidence: Evidence, picture: Picture) -> dict[str, Any]:
    chat = evidence.chats[picture.chat_id]
    found: dict[str, Any] = {}
    for name in ("status", "title", "archived", "queue_length", "version"):
        if getattr(picture, name) != chat[name]:
            found[name] = {"shown": getattr(picture, name), "stored": chat[name]}
    if picture.preview:
        found["preview"] = picture.preview
    shown, stored = _shown(picture.messages), _shown(_visible(evidence, picture.chat_id))
    if shown != stored:
        first = next(
            (n for n, both in enumerate(zip(shown, stored, strict=False)) if both[0] != both[1]),
            min(len(shown), len(stored)),
        )
        found["messages"] = {"shown": shown[first : first + 2], "stored": stored[first : first + 2]}
    return found


@rule
def subscribers_show_what_is_stored(evidence: Evidence) -> Findings:
    """Find subscribers whose picture of a chat differs from the rows, or stopped before its end."""
    for picture in evidence.pictures:
        named = {
            "chat": picture.chat_id,
            "subscriber": picture.subscriber,
            "connections": picture.connections,
        }
        if picture.chat_id not in evidence.chats:
            if not picture.deleted:
                yield named | {"not_shown_as_deleted": True}
        elif picture.deleted:
            yield named | {"shown_as_deleted": True}
        elif found := _differences(evidence, picture):
            yield named | {"differs": found, "journal": excerpt(evidence, picture.chat_id)}


def _noted(evidence: Evidence, name: str) -> Findings:
    for picture in evidence.pictures:
        for finding, found in picture.findings:
            if finding == name:
                yield {
                    "chat": picture.chat_id,
                    "subscriber": picture.subscriber,
                    **found,
                    "journal": excerpt(evidence, picture.chat_id),
                }


@rule
def streams_send_each_message_once(evidence: Evidence) -> Findings:
    """Find messages that one subscriber got twice."""
    yield from _noted(evidence, "message twice")


@rule
def joined_deltas_are_the_message(evidence: Evidence) -> Findings:
    """Find messages that do not begin with the deltas that were shown before them."""
    yield from _noted(evidence, "deltas differ")
    yield from _noted(evidence, "interrupted deltas differ")


@rule
def streams_are_served_or_unavailable(evidence: Evidence) -> Findings:
    """Find streams that were refused other than by 404 or a status that means 'later'."""
    yield from _noted(evidence, "stream refused")
