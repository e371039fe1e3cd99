"""Rules of messages: stored once, answered once, and answered with what the model sent."""

import re
from collections import Counter
from collections.abc import Iterator

from chaos.audit.rules import Findings, described, excerpt, rule
from chaos.evidence import Evidence, Row, is_summary, text_of
from chaos.families import answer_that_sent

_CALL = re.compile(r"call (\d+) answers (m\d+):")
_ENDS_A_TURN = frozenset({"fail", "interrupt", "finish_interrupt", "reap_interrupt", "promote"})
_REPLACES_A_TURN = frozenset({"send", "promote", "interrupt"})


def _stored_texts(evidence: Evidence) -> Counter[str]:
    rows = [
        row
        for rows in (*evidence.own_messages().values(), *evidence.queue.values())
        for row in rows
        if row.get("role", "user") == "user"
    ]
    return Counter(text_of(row["content"]) for row in rows)


@rule
def accepted_messages_are_stored_once(evidence: Evidence) -> Findings:
    """Find accepted messages that are neither in the history nor in the queue, or more than once."""
    stored = _stored_texts(evidence)
    for request in evidence.requests:
        if request.text is None or not request.accepted:
            continue
        chat_id = request.chat_id or request.response["id"]
        if chat_id not in evidence.chats:
            continue
        queued = (request.response.get("queued_message") or {}).get("id")
        removed = queued is not None and any(
            queued in row["data"].get("removed", ()) for row in evidence.journal[chat_id]
        )
        if stored[request.text] != (0 if removed else 1):
            yield described(request) | {
                "stored": stored[request.text],
                "removed_from_queue": removed,
                "journal": excerpt(evidence, chat_id),
            }


@rule
def refused_messages_are_not_stored(evidence: Evidence) -> Findings:
    """Find messages of requests that were refused, and messages that nobody sent."""
    stored = _stored_texts(evidence)
    for request in evidence.requests:
        if request.text is not None and not request.accepted:
            # An attempt without an answer may have been carried out after the next one was refused.
            uncertain = request.lost_attempts > 0 or request.status is None
            if stored[request.text] > uncertain:
                yield described(request) | {"stored": stored[request.text]}
    sent = {request.text for request in evidence.requests}
    for text, number in stored.items():
        by_model = answer_that_sent(text.partition(" ")[0]) is not None
        if (text not in sent and not by_model) or (by_model and number > 1):
            yield {"stored_but_never_sent": text, "stored": number}


def _turns(messages: list[Row]) -> Iterator[tuple[Row, list[Row]]]:
    """Yield every message of a user with what was stored to answer it."""
    users = [row for row in messages if row["role"] == "user"]
    replies: dict[int, list[Row]] = {row["id"]: [] for row in users}
    for row in messages:
        if row["role"] != "user":
            before = (user for user in reversed(users) if user["id"] < row["id"])
            asked = next((user for user in before if not _is_hidden(user, row["version"])), None)
            if asked is not None:
                replies[asked["id"]].append(row)
    yield from ((user, replies[user["id"]]) for user in users)


def _is_hidden(message: Row, version: int) -> bool:
    superseded: int | None = message["superseded_version"]
    return superseded is not None and superseded <= version


def _is_answer(row: Row) -> bool:
    calls = any(part["type"] == "tool-call" for part in row["content"])
    return row["role"] == "assistant" and not calls


def _turn_under_way(evidence: Evidence, message: Row) -> tuple[int, float] | None:
    """Return when a message was last to be answered, and the version of the message after that.

    None: it was to be answered in the chat that it was copied from.
    """
    chat_id = message["chat_id"]
    regenerated = [
        row["version"]
        for row in evidence.journal.get(chat_id, ())
        if row["transition"] == "regenerate" and row["data"]["reset_from"] == message["id"] + 1
    ]
    if not regenerated and evidence.is_copied(message):
        return None
    begun = regenerated[-1] if regenerated else message["version"]
    after = (
        row["version"]
        for row in evidence.messages[chat_id]
        if row["role"] == "user" and not is_summary(row)
        if row["id"] > message["id"] and row["version"] >= begun
    )
    return begun, next(after, float("inf"))


@rule
def messages_are_answered_or_explained(evidence: Evidence) -> Findings:
    """Find messages without an answer whose journal has no reason for it."""
    for chat_id, messages in evidence.said().items():
        for message, replies in _turns(messages):
            turn = _turn_under_way(evidence, message)
            answers = [row for row in filter(_is_answer, replies) if not _was_replaced(row)]
            if answers or _was_replaced(message) or turn is None:
                continue
            begun, end = turn
            entries = list(evidence.entries(chat_id, begun, end))
            retried = [place for place in range(len(entries)) if _is_tried_again(entries, place)]
            entries = entries[retried[-1] :] if retried else entries
            explained = any(
                row["transition"] in _ENDS_A_TURN
                or (row["transition"] == "reap" and row["status"] == "error")
                or (row["version"] == end and row["transition"] in _REPLACES_A_TURN)
                for row in entries
            )
            if not explained:
                yield {
                    "chat": chat_id,
                    "message": message["id"],
                    "status": evidence.chats[chat_id]["status"],
                    "journal": excerpt(evidence, chat_id),
                }


def _is_tried_again(entries: list[Row], place: int) -> bool:
    """Return whether an entry has a failed turn tried again, as a compaction of such a chat does, too."""
    transition, before = entries[place]["transition"], entries[max(place - 1, 0)]["status"]
    return transition == "retry" or (transition == "request_compaction" and before == "error")


def _was_replaced(row: Row) -> bool:
    return row["superseded_version"] is not None


@rule
def messages_are_answered_once(evidence: Evidence) -> Findings:
    """Find messages with two answers that were shown at once, and answers of the model stored twice."""
    stored: Counter[str] = Counter()
    for chat_id, messages in evidence.said().items():
        for message, replies in _turns(messages):
            answers = [row for row in replies if _is_answer(row)]
            own = [row for row in answers if not evidence.is_copied(row)]
            stored.update(m[1] for row in own if (m := _CALL.match(text_of(row["content"]))))
            ends = Counter(row["superseded_version"] for row in answers)
            if any(number > 1 for number in ends.values()):
                yield {
                    "chat": chat_id,
                    "message": message["id"],
                    "answers": [row["id"] for row in answers],
                    "journal": excerpt(evidence, chat_id),
                }
    yield from ({"model_call": call, "stored": n} for call, n in stored.items() if n > 1)


@rule
def answers_are_what_the_model_sent(evidence: Evidence) -> Findings:
    """Find answers that are not the whole answer of a call, or no beginning of one if interrupted."""
    calls = {call.number: call for call in evidence.model_calls}
    for chat_id, messages in evidence.said().items():
        for message, replies in _turns(messages):
            for row in filter(_is_answer, replies):
                text, stopped = text_of(row["content"]), row["finish_reason"] == "interrupted"
                found = _CALL.match(text)
                call = calls.get(int(found[1])) if found else None
                if stopped and (call is None or call.text.startswith(text)):
                    continue
                asked = text_of(message["content"]).split()[0]
                if call is None or call.text != text or call.asked != asked:
                    yield {
                        "chat": chat_id,
                        "message": row["id"],
                        "finish_reason": row["finish_reason"],
                        "stored": text,
                        "sent": call.text if call else None,
                        "journal": excerpt(evidence, chat_id),
                    }


@rule
def requests_are_as_the_provider_wants(evidence: Evidence) -> Findings:
    """Find requests to the model that its API would refuse, such as a call without its result."""
    for call in evidence.model_calls:
        if call.breaches:
            yield {"model_call": call.number, "asked": call.asked, "breaches": call.breaches}


@rule
def answers_come_from_the_lease(evidence: Evidence) -> Findings:
    """Find answers of calls that another replica made than the one that had the lease."""
    calls = {call.number: call for call in evidence.model_calls}
    replicas = {life.worker_id: life.replica for life in evidence.lives}
    for chat_id, messages in evidence.own_messages().items():
        workers = {
            row["epoch"]: row["worker_id"]
            for row in evidence.journal.get(chat_id, [])
            if row["transition"] == "claim"
        }
        epochs = {row["version"]: row["epoch"] for row in evidence.journal.get(chat_id, [])}
        for row in filter(_is_answer, messages):
            found = _CALL.match(text_of(row["content"]))
            call = calls.get(int(found[1])) if found else None
            worker = workers.get(epochs.get(row["version"]))
            if call is not None and replicas.get(worker) != call.replica:
                yield {
                    "chat": chat_id,
                    "message": row["id"],
                    "called_by": call.replica,
                    "lease_of": replicas.get(worker),
                    "journal": excerpt(evidence, chat_id),
                }
