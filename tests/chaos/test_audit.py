"""Every rule of the audit finds what it is for. The evidence is made by hand, and broken in one place."""

from collections.abc import Callable
from typing import Any

import pytest

from chaos.audit import (
    RULES,
    approvals,
    audit,
    compactions,
    families,
    forks,
    tool_results,
    tool_times,
    tools,
)
from chaos.evidence import Evidence
from chaos.plan import Fault, Kind
from chaos.records import InjectedFault, Request
from chaos.whole_evidence import CALLED, CHAT, TEXT, entry, message, whole_evidence

Break = Callable[[Evidence], None]


def accept(e: Evidence, **more: Any) -> None:
    request = {"number": 9, "operation": "send", "method": "POST", "path": "", "chat_id": CHAT}
    e.requests.append(Request(**(request | {"status": 202, "response": {}} | more)))


def store(e: Evidence, row: dict[str, Any]) -> None:
    e.messages[CHAT].append(row)


def log(e: Evidence, **line: Any) -> None:
    e.lives[0].notable.append({"level": "error", **line})


def accepted_message_is_lost(e: Evidence) -> None:
    accept(e, text="m3")


def accepted_message_is_stored_twice(e: Evidence) -> None:
    store(e, message(5, 6, "user", "m2"))


def refused_message_is_stored(e: Evidence) -> None:
    e.requests[1].status = 409


def message_of_nobody_is_stored(e: Evidence) -> None:
    store(e, message(5, 6, "user", "m77"))


def answer_is_missing(e: Evidence) -> None:
    del e.messages[CHAT][3]


def message_is_answered_twice(e: Evidence) -> None:
    store(e, message(5, 6, "assistant", "call 3 answers m2: other"))


def answer_is_stored_for_two_messages(e: Evidence) -> None:
    e.messages[CHAT][3]["content"] = TEXT


def answer_lacks_a_part(e: Evidence) -> None:
    e.messages[CHAT][1]["content"] = [{"type": "text", "text": "call 1 answers m1: word"}]


def interrupted_answer_is_no_beginning(e: Evidence) -> None:
    e.messages[CHAT][1] |= {"finish_reason": "interrupted"}
    e.messages[CHAT][1]["content"] = [{"type": "text", "text": "call 1 answers m1: word"}]


def stale_worker_answers(e: Evidence) -> None:
    e.model_calls[1].replica = "b"


def model_is_sent_a_call_without_result(e: Evidence) -> None:
    e.model_calls[1].breaches = ["calls_have_results: call_2"]


def journal_has_a_gap(e: Evidence) -> None:
    del e.journal[CHAT][2]


def journal_has_an_illegal_transition(e: Evidence) -> None:
    e.journal[CHAT][2]["transition"] = "interrupt"


def row_is_behind_its_journal(e: Evidence) -> None:
    e.chats[CHAT]["status"] = "error"


def epoch_does_not_rise(e: Evidence) -> None:
    for row in e.journal[CHAT][4:]:
        row["epoch"] = 1


def journal_names_another_message(e: Evidence) -> None:
    e.journal[CHAT][5]["data"]["messages"] = [5]


def queue_has_a_message_that_the_journal_lacks(e: Evidence) -> None:
    e.queue[CHAT] = [message(1, 1, "user", "m1")]


def stale_worker_writes(e: Evidence) -> None:
    e.journal[CHAT][5]["worker_id"] = "w2"


def living_worker_is_reaped(e: Evidence) -> None:
    e.lives[0].ended, e.lives[0].signals = None, []
    e.journal[CHAT][5] = entry(6, "reap", "pending", 2, reason="worker_dead", settled_part=2)


def epoch_is_claimed_twice(e: Evidence) -> None:
    e.journal[CHAT][4] |= {"epoch": 1, "worker_id": "w2"}


def tool_call_has_no_result(e: Evidence) -> None:
    call = {"type": "tool-call", "tool_call_id": CALLED, "tool_name": "look_up", "args": "{}"}
    e.messages[CHAT][1]["content"].append(call)


def chat_is_left_running(e: Evidence) -> None:
    e.chats[CHAT] |= {"status": "running", "worker_id": "w1"}


def created_chat_is_lost(e: Evidence) -> None:
    accept(e, operation="create", chat_id=None, response={"id": "c2"})


def chat_was_created_twice(e: Evidence) -> None:
    e.chats["c2"] = e.chats[CHAT] | {"id": "c2"}


def deleted_chat_is_left(e: Evidence) -> None:
    accept(e, operation="delete", status=204, response=None)


def title_is_not_the_last_one(e: Evidence) -> None:
    described = {"title": "m5", "labels": {}, "archived": False}
    e.journal[CHAT].append(entry(7, "describe", "waiting", 2, **described))
    e.chats[CHAT]["version"] = 7


def subscriber_lacks_a_message(e: Evidence) -> None:
    del e.pictures[0].messages[3]


def subscriber_shows_another_text(e: Evidence) -> None:
    e.pictures[0].messages[3] = message(4, 6, "assistant", "call 2 answers m2: othe")


def subscriber_is_behind(e: Evidence) -> None:
    e.pictures[0].version = 5


def subscriber_shows_an_old_status(e: Evidence) -> None:
    e.pictures[0].status = "running"


def subscriber_keeps_a_preview(e: Evidence) -> None:
    e.pictures[0].preview = TEXT


def stream_sends_a_message_twice(e: Evidence) -> None:
    e.pictures[0].findings.append(("message twice", {"message": 4}))


def deltas_differ_from_the_message(e: Evidence) -> None:
    e.pictures[0].findings.append(("deltas differ", {"message": 4}))


def stream_is_refused(e: Evidence) -> None:
    e.pictures[0].findings.append(("stream refused", {"status": 500}))


def request_is_answered_500(e: Evidence) -> None:
    accept(e, status=500, response={"code": "internal"})


def request_is_refused_without_reason(e: Evidence) -> None:
    accept(e, status=422, response={"code": "invalid_request"})


def replay_differs(e: Evidence) -> None:
    first = {"chat": {"id": CHAT}, "message": {"id": 3}, "queued": False, "queued_message": None}
    e.requests[1].response = first
    e.requests[1].replays.append((201, first | {"message": {"id": 4}}))


def replay_makes_another_chat(e: Evidence) -> None:
    e.requests[0].response = {"id": CHAT, "root_chat_id": CHAT}
    e.requests[0].replays.append((201, {"id": "c2", "root_chat_id": "c2"}))


def process_ends_by_itself(e: Evidence) -> None:
    e.lives[0].signals, e.lives[0].exit_code = [], 70


def process_ends_when_its_login_is_denied(e: Evidence) -> None:
    fault = Fault(at=0.0, kind=Kind.DENY_LOGIN, replica="a", seconds=100.0, seed=0)
    e.faults.append(InjectedFault(fault=fault, at=0.0, hit=True))
    e.lives[0].signals, e.lives[0].exit_code, e.lives[0].events = [], 78, ["daemon.starting"]


def process_fails_when_stopped(e: Evidence) -> None:
    e.lives[0].exit_code = 1


def process_hangs_when_stopped(e: Evidence) -> None:
    e.lives[0].hung = True


def traceback_is_logged(e: Evidence) -> None:
    log(e, event="outage.began", exception={"type": "KeyError"})


def task_exception_is_never_retrieved(e: Evidence) -> None:
    log(e, event="library.message", message="Task exception was never retrieved")


def unknown_warning_is_logged(e: Evidence) -> None:
    log(e, event="supervisor.child_failed")


CASES: dict[str, list[Break]] = {
    "accepted_messages_are_stored_once": [
        accepted_message_is_lost,
        accepted_message_is_stored_twice,
    ],
    "refused_messages_are_not_stored": [refused_message_is_stored, message_of_nobody_is_stored],
    "messages_are_answered_or_explained": [answer_is_missing],
    "messages_are_answered_once": [message_is_answered_twice, answer_is_stored_for_two_messages],
    "answers_are_what_the_model_sent": [answer_lacks_a_part, interrupted_answer_is_no_beginning],
    "requests_are_as_the_provider_wants": [model_is_sent_a_call_without_result],
    "answers_come_from_the_lease": [stale_worker_answers],
    "journals_have_no_gap_and_match_the_row": [
        journal_has_a_gap,
        journal_has_an_illegal_transition,
        row_is_behind_its_journal,
        epoch_does_not_rise,
    ],
    "journals_name_what_is_stored": [
        journal_names_another_message,
        queue_has_a_message_that_the_journal_lacks,
    ],
    "tool_calls_have_one_result": [tool_call_has_no_result],
    "epochs_have_one_worker": [stale_worker_writes, epoch_is_claimed_twice],
    "reaped_workers_were_dead_or_silent": [living_worker_is_reaped],
    "nothing_is_left_running": [chat_is_left_running],
    "created_chats_exist_once": [created_chat_is_lost, chat_was_created_twice],
    "deleted_chats_leave_nothing": [deleted_chat_is_left],
    "descriptions_are_the_last_ones": [title_is_not_the_last_one],
    "subscribers_show_what_is_stored": [
        subscriber_lacks_a_message,
        subscriber_shows_another_text,
        subscriber_is_behind,
        subscriber_shows_an_old_status,
        subscriber_keeps_a_preview,
    ],
    "streams_send_each_message_once": [stream_sends_a_message_twice],
    "joined_deltas_are_the_message": [deltas_differ_from_the_message],
    "streams_are_served_or_unavailable": [stream_is_refused],
    "requests_are_answered_by_rule": [request_is_answered_500, request_is_refused_without_reason],
    "replays_are_equal": [replay_differs, replay_makes_another_chat],
    "no_process_ends_by_itself": [process_ends_by_itself, process_ends_when_its_login_is_denied],
    "stopped_processes_end_in_order": [process_fails_when_stopped, process_hangs_when_stopped],
    "logs_have_no_exception": [traceback_is_logged, task_exception_is_never_retrieved],
    "logs_have_nothing_unexpected": [unknown_warning_is_logged],
}
"""What each rule finds."""
_ELSEWHERE = {
    each.__name__
    for each in (approvals, compactions, families, forks, tool_results, tool_times, tools)
}
"""Modules whose rules have their cases in a test of their own."""


def test_whole_evidence_has_no_violation() -> None:
    assert audit(whole_evidence()) == []


def test_every_rule_has_a_case() -> None:
    others = {rule.__name__ for rule in RULES if rule.__module__ not in _ELSEWHERE}
    assert others == set(CASES)


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Break) -> None:
    evidence = whole_evidence()
    breaks(evidence)
    assert rule in {violation.rule for violation in audit(evidence)}
