"""Rules of messages: stored once, answered once, and answered with what the model sent."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from chaos.audit.rules import Findings, described, excerpt, rule
from chaos.evidence import Evidence, Row, text_of

_CALL = re.compile(r"call (\d+) answers (m\d+):")
_ENDS_A_TURN = frozenset({"fail", "interrupt", "finish_interrupt", "reap_interrupt", "promote"})
_REPLACES_A_TURN = frozenset({"send", "promote", "interrupt"})


def _stored_texts(evidence: Evidence) -> Counter[str]:
    rows = [
        row
        for rows in (*evidence.messages.values(), *evidence.queue.values())
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
    yield from ({"stored_but_never_sent": text} for text in stored if text not in sent)


def _turns(messages: list[Row]) -> Iterator[tuple[Row, list[Row], Row | None]]:
    """Yield every message of a user, what was stored after it, and the next message of a user."""
    users = [place for place, row in enumerate(messages) if row["role"] == "user"]
    for place, following in zip_longest(users, users[1:]):
        after = None if following is None else messages[following]
        yield messages[place], messages[place + 1 : following], after


def _is_answer(row: Row) -> bool:
    calls = any(part["type"] == "tool-call" for part in row["content"])
    return row["role"] == "assistant" and not calls


@rule
def messages_are_answered_or_explained(evidence: Evidence) -> Findings:
    """Find messages without an answer whose journal has no reason for it."""
    for chat_id, messages in evidence.messages.items():
        for message, replies, following in _turns(messages):
            if any(map(_is_answer, replies)) or message["superseded_version"] is not None:
                continue
            end = float("inf") if following is None else following["version"]
            entries = list(evidence.entries(chat_id, message["version"], end))
            retried = [place for place, row in enumerate(entries) if row["transition"] == "retry"]
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


@rule
def messages_are_answered_once(evidence: Evidence) -> Findings:
    """Find messages with two answers, and answers of the model that are stored twice."""
    stored: Counter[str] = Counter()
    for chat_id, messages in evidence.messages.items():
        for message, replies, _ in _turns(messages):
            answers = [row for row in replies if _is_answer(row)]
            stored.update(m[1] for row in answers if (m := _CALL.match(text_of(row["content"]))))
            if len(answers) > 1:
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
    for chat_id, messages in evidence.messages.items():
        for message, replies, _ in _turns(messages):
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
    for chat_id, messages in evidence.messages.items():
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
