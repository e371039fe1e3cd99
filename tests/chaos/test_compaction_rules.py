"""The rules of compactions find what they are for. Evidence is broken in one place."""

from collections.abc import Callable
from uuid import UUID

import pytest

from chaos.audit import RULES, compactions
from chaos.evidence import Evidence, Row
from chaos.model_process import asked_in, asks_for_summary
from chaos.records import Picture
from chaos.whole_evidence import CHAT, START, entry, message
from chaos.whole_tool_evidence import TOOL_CHAT, evidence_with_tools, found
from chatd.domain.compaction import compaction_part
from chatd.domain.message import Message, Role, text_of
from chatd.worker.compaction.boundary import Split
from chatd.worker.compaction.summary import SummaryRequest, summary_message
from chatd.worker.compaction.transcript import FULL

TEXT = "summary 60: so that"


def compact(e: Evidence, *, covers_until: int, text: str = TEXT) -> None:
    """Have the chat with tools compacted on request, after its last answer."""
    version, chat = e.chats[TOOL_CHAT]["version"], e.chats[TOOL_CHAT]
    first, epoch = e.messages[TOOL_CHAT][-1]["id"] + 1, chat["epoch"] + 1
    summary = message(first, version + 3, "user", f"Before:\n\n<summary>\n{text}\n</summary>")
    notice = message(first + 1, version + 3, "assistant", "") | {
        "content": [compaction_part(before_tokens=90, after_tokens=30)],
        "finish_reason": None,
    }
    summary |= {"visibility": "model", "covers_until": covers_until}
    rows = [summary, notice | {"visibility": "user"}]
    stored = {"messages": [first, first + 1], "compacted_until": covers_until, "settled_part": 1}
    entries = [
        entry(version + 1, "request_compaction", "pending", chat["epoch"]),
        entry(version + 2, "claim", "running", epoch),
        entry(version + 3, "compact", "running", epoch, **stored),
        entry(version + 4, "finish_turn", "waiting", epoch, settled_part=2, queue_length=0),
    ]
    e.messages[TOOL_CHAT] += [row | {"chat_id": TOOL_CHAT} for row in rows]
    e.journal[TOOL_CHAT] += [row | {"chat_id": TOOL_CHAT} for row in entries]
    chat |= {"version": version + 4, "epoch": epoch, "settled_part": 2}


def whole() -> Evidence:
    """Return evidence of a chat that was compacted, in which nothing is wrong."""
    evidence = evidence_with_tools()
    call = evidence.model_calls[-1]
    more = {"replica": "a", "asked": "", "fault": None, "began": 0.0}
    evidence.model_calls.append(type(call)(number=60, text=TEXT, **more))
    compact(evidence, covers_until=4)
    chat, rows = evidence.chats[TOOL_CHAT], evidence.messages[TOOL_CHAT]
    evidence.pictures.append(
        Picture(
            subscriber="raw SSE",
            chat_id=TOOL_CHAT,
            messages=[r | {"compacted": r["id"] <= 4} for r in rows if r["covers_until"] is None],
            status="waiting",
            title="",
            archived=False,
            queue_length=0,
            version=chat["version"],
        )
    )
    return evidence


def summary_of(e: Evidence) -> Row:
    return next(row for row in e.messages[TOOL_CHAT] if row["covers_until"] is not None)


def notice_is_missing(e: Evidence) -> None:
    e.messages[TOOL_CHAT].pop()


def notice_is_stored_twice(e: Evidence) -> None:
    e.messages[TOOL_CHAT].append(e.messages[TOOL_CHAT][-1] | {"id": 7})


def summary_is_missing(e: Evidence) -> None:
    e.messages[TOOL_CHAT].remove(summary_of(e))


def summary_is_shown_to_people(e: Evidence) -> None:
    summary_of(e)["visibility"] = "both"


def journal_names_another_boundary(e: Evidence) -> None:
    summary_of(e)["covers_until"] = 3


def summary_has_no_entry(e: Evidence) -> None:
    e.journal[TOOL_CHAT][-2]["transition"] = "commit_step"


def second_summary_covers_less(e: Evidence) -> None:
    compact(e, covers_until=3)


def second_summary_covers_the_same(e: Evidence) -> None:
    compact(e, covers_until=4)


def summary_ends_at_no_message(e: Evidence) -> None:
    summary_of(e)["covers_until"] = 1_000_000


def summary_is_cut(e: Evidence) -> None:
    e.model_calls[-1].text += " it"


def summary_is_of_no_call(e: Evidence) -> None:
    e.model_calls.pop()


def summary_is_stored_twice(e: Evidence) -> None:
    compact(e, covers_until=6)


def summary_covers_a_call_without_its_result(e: Evidence) -> None:
    summary_of(e)["covers_until"] = 2


def summary_covers_half_of_the_results(e: Evidence) -> None:
    results = e.messages[TOOL_CHAT][2]["content"]
    later = e.messages[TOOL_CHAT][3] | {"role": "tool", "content": [results.pop()]}
    e.messages[TOOL_CHAT].insert(3, later)
    summary_of(e)["covers_until"] = 3
    later["id"] = 4


def stop_and_compact(e: Evidence, *, answered: bool) -> None:
    """Have the last message of the chat without tools stopped, and the chat compacted after that."""
    answer = e.messages[CHAT].pop()
    stored = {"messages": [answer["id"]]} if answered else {}
    e.journal[CHAT][-1:] = [
        entry(6, "interrupt", "interrupting", 2),
        entry(7, "finish_interrupt", "waiting", 2, settled_part=2, queue_length=0),
        entry(8, "request_compaction", "pending", 2),
        entry(9, "claim", "running", 3),
        entry(10, "finish_turn", "waiting", 3, settled_part=1, queue_length=0, **stored),
    ]
    e.chats[CHAT] |= {"version": 10, "epoch": 3, "settled_part": 1}
    e.pictures[0].messages.pop()
    e.pictures[0].version = 10
    if answered:
        e.messages[CHAT].append(answer | {"version": 10})


def stopped_message_is_answered(e: Evidence) -> None:
    stop_and_compact(e, answered=True)


def request_is_left(e: Evidence) -> None:
    e.chats[CHAT]["compaction_request"] = {"idle_version": 3, "is_done": True}


CASES: dict[str, list[Callable[[Evidence], None]]] = {
    "compactions_are_stored_whole": [
        notice_is_missing,
        notice_is_stored_twice,
        summary_is_missing,
        summary_is_shown_to_people,
        journal_names_another_boundary,
        summary_has_no_entry,
    ],
    "summaries_cover_more_and_more": [
        second_summary_covers_less,
        second_summary_covers_the_same,
        summary_ends_at_no_message,
    ],
    "summaries_are_what_the_model_wrote": [
        summary_is_cut,
        summary_is_of_no_call,
        summary_is_stored_twice,
    ],
    "summaries_end_between_calls": [
        summary_covers_a_call_without_its_result,
        summary_covers_half_of_the_results,
    ],
    "compactions_leave_stopped_what_was_stopped": [stopped_message_is_answered],
    "done_compactions_are_forgotten": [request_is_left],
}
"""What each rule finds."""


def test_every_rule_has_a_case() -> None:
    own = {rule.__name__ for rule in RULES if rule.__module__ == compactions.__name__}
    assert own == set(CASES)


def test_whole_evidence_has_no_violation() -> None:
    assert found(whole()) == set()


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Callable[[Evidence], None]) -> None:
    evidence = whole()
    breaks(evidence)
    assert rule in found(evidence)


def test_subscriber_that_misses_a_mark_is_a_violation() -> None:
    evidence = whole()
    evidence.pictures[-1].messages[0]["compacted"] = False
    assert found(evidence) == {"subscribers_show_what_is_stored"}


def test_message_that_only_a_summary_has_is_a_violation() -> None:
    evidence = whole()
    summary_of(evidence)["content"][0]["text"] += "m2"
    del evidence.messages[CHAT][2]
    assert "accepted_messages_are_stored_once" in found(evidence)


def fail_last_turn(e: Evidence) -> None:
    """Have the last message of the chat without tools end with an error, and have it compacted."""
    e.messages[CHAT].pop()
    e.pictures.pop(0)
    e.journal[CHAT][-1] |= {"transition": "fail", "status": "error"}
    e.journal[CHAT][-1]["data"] = {"settled_part": 2}
    e.journal[CHAT] += [
        entry(7, "request_compaction", "pending", 2),
        entry(8, "claim", "running", 3),
        entry(9, "finish_turn", "waiting", 3, settled_part=1, queue_length=0),
    ]
    e.chats[CHAT] |= {"version": 9, "epoch": 3, "settled_part": 1}


def test_failed_turn_that_is_not_tried_again_after_a_compaction_is_a_violation() -> None:
    evidence = whole()
    fail_last_turn(evidence)
    assert found(evidence) == {"messages_are_answered_or_explained"}


def test_failed_turn_that_fails_again_is_no_violation() -> None:
    evidence = whole()
    fail_last_turn(evidence)
    evidence.journal[CHAT][-1] |= {"transition": "fail", "status": "error"}
    evidence.chats[CHAT]["status"] = "error"
    assert found(evidence) == set()


def test_stopped_turn_may_be_compacted() -> None:
    evidence = whole()
    stop_and_compact(evidence, answered=False)
    assert found(evidence) == set()


def said(number: int, role: Role, text: str, *, covers_until: int | None = None) -> Message:
    return Message(
        id=number,
        chat_id=UUID(int=1),
        version=number,
        role=role,
        content=({"type": "text", "text": text},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=START,
        covers_until=covers_until,
    )


ASKED = (said(1, Role.USER, "m1 [long]"), said(2, Role.USER, "m2 [server]"))


def test_call_for_a_summary_is_recognised() -> None:
    request = SummaryRequest(Split((), ASKED, ()), FULL)
    shown = [{"role": str(m.role), "content": text_of(m.content)} for m in request.messages()]
    assert asks_for_summary(shown)
    assert not asks_for_summary(shown[1:])


def test_message_that_is_asked_is_the_one_that_a_summary_quotes() -> None:
    split = Split((), (*ASKED, said(3, Role.TOOL, "read")), ())
    text = text_of(summary_message("summary 9 of m7: so", split, request_length=100).content)
    assert asked_in(text) == "m2 [server]"
    assert asked_in(f"{text}\n\nm3 [tool]") == "m3 [tool]"


def test_no_message_is_asked_of_what_a_summary_says() -> None:
    split = Split((), (*ASKED, said(3, Role.ASSISTANT, "call 1 answers m2: so")), ())
    text = text_of(summary_message("summary 9 of m7: so", split, request_length=100).content)
    assert asked_in(text) == ""
    assert asked_in(f"{text}\n\nm8") == "m8"
