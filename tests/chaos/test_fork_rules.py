"""The rules of forks and regenerated answers find what they are for. Evidence is broken in one place."""

from collections.abc import Callable
from typing import Any

import pytest

from chaos.audit import RULES, forks
from chaos.evidence import Evidence
from chaos.records import Request
from chaos.whole_evidence import CHAT, entry, message, whole_evidence
from chaos.whole_tool_evidence import TOOL_CHAT, add_tool_chat, found

FORK = "c9"


def request(operation: str, chat_id: str, **more: Any) -> Request:
    fields: dict[str, Any] = {"number": 9, "method": "POST", "path": "", "status": 201}
    return Request(operation=operation, chat_id=chat_id, **(fields | more))


def add_fork(e: Evidence, source: str = CHAT, *, up_to: int | None = None, copied: int) -> None:
    """Add a fork of the first messages of a chat, which has done nothing since."""
    rows = [
        row | {"chat_id": FORK, "version": 1, "id": 1_000_000 + number}
        for number, row in enumerate(e.messages[source][:copied], 1)
    ]
    data = {"forked_from": source, "copied_messages": copied}
    e.journal[FORK] = [entry(1, "fork", "waiting", 0, **data) | {"chat_id": FORK}]
    e.messages[FORK] = rows
    e.chats[FORK] = e.chats[source] | {"id": FORK, "version": 1, "epoch": 0, "settled_part": 0}
    body = {} if up_to is None else {"from_message_id": up_to}
    e.requests.append(request("fork", source, body=body, response={"id": FORK}))


def regenerate(e: Evidence) -> None:
    """Have the last answer of the chat regenerated."""
    [old] = [row for row in e.messages[CHAT] if row["id"] == 4]
    old["superseded_version"] = 7
    e.messages[CHAT].append(message(9, 9, "assistant", "call 3 answers m2: better"))
    e.journal[CHAT] += [
        entry(7, "regenerate", "pending", 3, reset_from=4, queue_length=0),
        entry(8, "claim", "running", 4),
        entry(9, "finish_turn", "waiting", 4, messages=[9], settled_part=2, queue_length=0),
    ]
    e.chats[CHAT] |= {"version": 9, "epoch": 4}
    call = e.model_calls[1]
    e.model_calls.append(
        type(call)(
            number=3,
            replica="a",
            asked="m2",
            fault=None,
            text="call 3 answers m2: better",
            began=0.0,
        )
    )
    e.requests.append(request("regenerate", CHAT, response={}))


def whole() -> Evidence:
    """Return evidence with a regenerated answer and a fork, in which nothing is wrong."""
    evidence = add_tool_chat(whole_evidence())
    regenerate(evidence)
    add_fork(evidence, copied=3, up_to=3)
    evidence.pictures = []
    return evidence


def fork_lacks_a_message(e: Evidence) -> None:
    del e.messages[FORK][1]


def fork_has_a_message_more(e: Evidence) -> None:
    e.messages[FORK].append(e.messages[FORK][1] | {"id": 1_000_004})


def fork_has_other_words(e: Evidence) -> None:
    e.messages[FORK][0]["content"] = [{"type": "text", "text": "m1."}]


def fork_mixes_two_moments(e: Evidence) -> None:
    add_fork(e, copied=5)


def fork_has_a_call_without_its_result(e: Evidence) -> None:
    add_fork(e, TOOL_CHAT, copied=2, up_to=2)


def answer_is_regenerated_twice(e: Evidence) -> None:
    e.requests.pop(next(n for n, r in enumerate(e.requests) if r.operation == "regenerate"))


def answer_is_never_regenerated(e: Evidence) -> None:
    e.requests.append(request("regenerate", CHAT, response={}))


def question_is_dropped(e: Evidence) -> None:
    e.messages[CHAT][2]["superseded_version"] = 7


CASES: dict[str, list[Callable[[Evidence], None]]] = {
    "forks_have_the_history_of_their_source": [
        fork_lacks_a_message,
        fork_has_a_message_more,
        fork_has_other_words,
        fork_mixes_two_moments,
        fork_has_a_call_without_its_result,
    ],
    "answers_are_regenerated_once": [
        answer_is_regenerated_twice,
        answer_is_never_regenerated,
        question_is_dropped,
    ],
}
"""What each rule finds."""


def test_every_rule_has_a_case() -> None:
    own = {rule.__name__ for rule in RULES if rule.__module__ == forks.__name__}
    assert own == set(CASES)


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Callable[[Evidence], None]) -> None:
    evidence = whole()
    breaks(evidence)
    assert rule in found(evidence)


def test_whole_evidence_has_no_violation() -> None:
    assert found(whole()) == set()


def test_fork_whose_source_was_deleted_is_no_violation() -> None:
    evidence = whole()
    for rows in (evidence.chats, evidence.messages, evidence.journal):
        del rows[CHAT]  # type: ignore[attr-defined]
    assert "forks_have_the_history_of_their_source" not in found(evidence)


def test_regenerated_answer_that_is_shown_beside_the_first_is_a_violation() -> None:
    evidence = whole()
    [first] = [row for row in evidence.messages[CHAT] if row["id"] == 4]
    first["superseded_version"] = None
    assert "messages_are_answered_once" in found(evidence)


def test_message_without_an_answer_since_it_was_regenerated_is_a_violation() -> None:
    evidence = whole()
    evidence.messages[CHAT].pop()
    assert "messages_are_answered_or_explained" in found(evidence)
