"""Rules of requests, processes and logs: no answer, end or line without a reason."""

from collections.abc import Iterator
from typing import Any

from chaos.allowed_logs import ALLOWED
from chaos.audit.rules import Findings, described, rule
from chaos.evidence import Evidence
from chaos.records import Life

_EXPECTED_CODES = frozenset(
    {
        "chat_not_found",
        "message_not_found",
        "queued_message_not_found",
        "chat_archived",
        "chat_busy",
        "nothing_to_compact",
        "chat_tree_busy",
        "no_action_required",
        "nothing_to_retry",
        "already_answered",
        "tool_call_unknown",
        "tool_results_missing",
        "queue_full",
    }
)
"""Refusals of requests that are legal as such, but not in the status that their chat has meanwhile."""


@rule
def requests_are_answered_by_rule(evidence: Evidence) -> Findings:
    """Find requests that were answered by a server error, or refused for a reason that is none."""
    for request in evidence.requests:
        if request.status is None or request.accepted:
            continue
        if request.status >= 500 or request.code not in _EXPECTED_CODES:
            yield described(request) | {"response": request.response}


def _made(response: Any) -> Any:
    """Return what a request made: ids and messages. The chat is shown as it is at each answer."""
    if not isinstance(response, dict):
        return response
    if "queued_message" in response:
        queued = response["queued_message"]
        return {
            "chat": response["chat"]["id"],
            "message": response["message"],
            "queued_message": queued and (queued["id"], queued["content"]),
        }
    return response["id"] if "root_chat_id" in response else response


@rule
def replays_are_equal(evidence: Evidence) -> Findings:
    """Find repeats of an accepted request that were answered otherwise than the first time."""
    deleted = evidence.deleted_chats()
    for request in evidence.requests:
        chats = {request.chat_id, (request.response or {}).get("id")}
        for status, response in request.replays:
            if (status, _made(response)) == (request.status, _made(request.response)):
                continue
            if not (status == 404 and chats & deleted):
                yield described(request) | {"first": request.response, "replay": response}


def _of(life: Life) -> dict[str, Any]:
    return {
        "replica": life.replica,
        "worker": life.worker_id,
        "seconds": None if life.ended is None else round(life.ended - life.began, 3),
        "signals": [name for _, name in life.signals],
        "exit_code": life.exit_code,
        "last_lines": life.last_lines,
    }


@rule
def no_process_ends_by_itself(evidence: Evidence) -> Findings:
    """Find processes that ended without a signal to end."""
    for life in evidence.lives:
        asked = any(name in {"SIGKILL", "SIGTERM"} for _, name in life.signals)
        if life.ended is not None and not asked:
            yield _of(life)


@rule
def stopped_processes_end_in_order(evidence: Evidence) -> Findings:
    """Find processes that did not end in time after SIGTERM, or not with exit code 0."""
    for life in evidence.lives:
        names = [name for _, name in life.signals]
        # Before chatd handles SIGTERM, Python ends by it.
        in_order = life.exit_code == 0 or (life.exit_code == -15 and not life.events)
        if life.hung or ("SIGTERM" in names and "SIGKILL" not in names and not in_order):
            yield _of(life) | {"hung": life.hung}


def _notable(evidence: Evidence) -> Iterator[tuple[Life, dict[str, Any]]]:
    for life in evidence.lives:
        yield from ((life, line) for line in life.notable)


@rule
def logs_have_no_exception(evidence: Evidence) -> Findings:
    """Find tracebacks, lines that are no log lines, and tasks that nobody waited for."""
    for life, line in _notable(evidence):
        text = f"{line.get('message', '')}{line.get('text', '')}"
        if "exception" in line or line.get("event") == "?" or "never retrieved" in text:
            yield {"replica": life.replica, "worker": life.worker_id, "line": line}


@rule
def logs_have_nothing_unexpected(evidence: Evidence) -> Findings:
    """Find warnings and errors that the faults of a run do not explain."""
    for life, line in _notable(evidence):
        if line.get("event") not in ALLOWED and "exception" not in line:
            yield {"replica": life.replica, "worker": life.worker_id, "line": line}
