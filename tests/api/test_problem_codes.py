"""Every problem code that an operation declares is answered by it at least once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from support.factories import chat_with_status, stored_rows, text_content
from support.in_process import running_daemon
from support.openapi_conformance import operations
from support.requests import (
    PROBLEM_JSON,
    VALID_BODIES,
    assert_problem,
    chat_operations,
)
from support.stored_messages import insert_message

from chatd.api.errors.codes import PROBLEMS
from chatd.domain.chat import Chat, Status
from chatd.domain.owner import LOCAL_OWNER
from chatd.store.database import Database


@dataclass(frozen=True, slots=True)
class Case:
    """A request that one operation refuses, for a chat that would otherwise allow it."""

    operation: str
    code: str
    status: Status = Status.WAITING
    """Status of the chat. It has a message, an answer and, unless it is waiting, a queued message."""
    archived: bool = False
    at_limit: bool = False
    """True if its owner has as many active chats as allowed."""
    message: Literal["question", "answer", "of another chat"] = "question"
    """The message of the request: the user's, the answer, or one of another chat."""


CASES = [
    Case("edit_message", "message_not_found", message="of another chat"),
    Case("edit_message", "not_a_user_message", message="answer"),
    Case("edit_message", "chat_archived", archived=True),
    Case("edit_message", "too_many_active_chats", at_limit=True),
    Case("edit_message", "too_many_active_chats", Status.ERROR, at_limit=True),
    Case("regenerate_message", "message_not_found", message="of another chat"),
    Case("regenerate_message", "chat_archived", archived=True),
    Case("regenerate_message", "too_many_active_chats", at_limit=True),
    Case("append_messages", "chat_archived", archived=True),
    Case("append_messages", "chat_busy", Status.PENDING),
    Case("append_messages", "chat_busy", Status.REQUIRES_ACTION),
    Case("clear_chat", "chat_archived", archived=True),
    Case("clear_chat", "chat_busy", Status.PENDING),
    Case("clear_chat", "chat_busy", Status.REQUIRES_ACTION),
    Case("compact_chat", "chat_archived", archived=True),
    Case("compact_chat", "too_many_active_chats", at_limit=True),
    Case("retry_chat", "chat_archived", Status.ERROR, archived=True),
    Case("retry_chat", "nothing_to_retry"),
    Case("retry_chat", "nothing_to_retry", Status.PENDING),
    Case("retry_chat", "too_many_active_chats", Status.ERROR, at_limit=True),
    Case(
        "promote_queued_message",
        "queued_message_not_found",
        Status.PENDING,
        message="of another chat",
    ),
    Case("promote_queued_message", "chat_archived", Status.ERROR, archived=True),
    Case("promote_queued_message", "too_many_active_chats", Status.ERROR, at_limit=True),
    Case(
        "delete_queued_message",
        "queued_message_not_found",
        Status.PENDING,
        message="of another chat",
    ),
    Case("send_message", "chat_archived", archived=True),
    Case("send_message", "chat_archived", Status.ERROR, archived=True),
    Case("send_message", "too_many_active_chats", at_limit=True),
    Case("send_message", "too_many_active_chats", Status.ERROR, at_limit=True),
]

NAMES = {"too_many_active_chats": "limits.max_active_chats"}
"""Settings that a problem names."""

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "list_chats": {
        "invalid_cursor": "api/test_invalid_requests.py",
        "search_unavailable": "api/test_searches.py",
        "too_many_searches": "api/test_searches.py",
    },
    "stream_chats": {"too_many_streams": "api/test_limits.py"},
    "interrupt_chat": {"status_unknown": "faults/test_rolling_upgrade.py"},
    "promote_queued_message": {"status_unknown": "faults/test_rolling_upgrade.py"},
    "create_chat": {
        "chat_exists": "api/test_given_chat_ids.py",
        "chat_gone": "api/test_given_chat_ids.py",
        "chat_not_found": "api/test_idempotency_keys.py",
        "model_not_found": "api/test_messages.py",
        "chat_full": "api/test_limits.py",
        "file_not_found": "api/test_files.py",
        "storage_full": "api/test_limits.py",
        "too_many_active_chats": "api/test_limits.py",
        "too_many_labels": "api/test_limits.py",
        "too_many_parts": "api/test_limits.py",
        "unsupported_file": "api/test_message_content.py",
        "too_many_tools": "api/test_client_tools.py",
    },
    "update_chat": {
        "chat_tree_busy": "api/test_chats.py",
        "too_many_labels": "api/test_limits.py",
    },
    "stream_chat": {"too_many_streams": "api/test_limits.py"},
    "list_messages": {"conflicting_parameters": "api/test_messages.py"},
    "send_message": {
        "chat_busy": "api/test_messages.py",
        "file_not_found": "api/test_files.py",
        "chat_full": "api/test_limits.py",
        "storage_full": "api/test_limits.py",
        "model_not_found": "api/test_messages.py",
        "queue_full": "api/test_messages.py",
        "too_many_parts": "api/test_limits.py",
        "too_many_tools": "api/test_given_histories.py",
        "unsupported_file": "api/test_message_content.py",
    },
    "regenerate_message": {"status_unknown": "faults/test_rolling_upgrade.py"},
    "fork_chat": {
        "chat_full": "api/test_forks.py",
        "message_not_found": "api/test_forks.py",
        "storage_full": "api/test_forks.py",
        "too_many_labels": "api/test_limits.py",
    },
    "edit_message": {
        "file_not_found": "api/test_files.py",
        "status_unknown": "faults/test_rolling_upgrade.py",
        "chat_full": "api/test_limits.py",
        "storage_full": "api/test_limits.py",
        "too_many_parts": "api/test_limits.py",
        "unsupported_file": "api/test_message_content.py",
    },
    "interrupt_any_chat": {
        "chat_not_found": "api/test_fleet.py",
        "status_unknown": "faults/test_rolling_upgrade.py",
    },
    "retry_any_chat": {
        "chat_archived": "api/test_fleet.py",
        "chat_not_found": "api/test_fleet.py",
        "nothing_to_retry": "api/test_fleet.py",
        "too_many_active_chats": "api/test_fleet.py",
    },
    "archive_any_chat": {
        "chat_not_found": "api/test_fleet.py",
        "chat_tree_busy": "api/test_fleet.py",
    },
    "drain_worker": {"worker_not_found": "api/test_fleet.py"},
    "resume_worker": {"worker_not_found": "api/test_fleet.py"},
    "append_messages": {
        "chat_full": "api/test_given_histories.py",
        "file_not_found": "api/test_given_histories.py",
        "storage_full": "api/test_given_histories.py",
        "too_many_parts": "api/test_given_histories.py",
        "unsupported_file": "api/test_given_histories.py",
    },
    "compact_chat": {"nothing_to_compact": "api/test_compaction.py"},
    "get_file": {"file_not_found": "api/test_files.py"},
    "answer_actions": {
        "already_answered": "worker/test_approvals.py",
        "answer_mismatch": "worker/test_approvals.py",
        "chat_full": "api/test_limits.py",
        "no_action_required": "worker/test_approvals.py",
        "storage_full": "api/test_limits.py",
        "tool_call_unknown": "worker/test_approvals.py",
    },
    "submit_tool_results": {
        "chat_full": "api/test_limits.py",
        "storage_full": "api/test_limits.py",
        "no_action_required": "api/test_client_tools.py",
        "tool_call_unknown": "api/test_client_tools.py",
        "tool_results_missing": "api/test_client_tools.py",
    },
}
"""operation → code → the test file that covers it, as it takes more than a chat in some status."""

GENERAL = {
    "bad_request",
    "body_too_large",
    "chat_unreadable",
    "database_unavailable",
    "foreign_origin",
    "head_too_large",
    "idempotency_key_reused",
    "insufficient_scope",
    "internal",
    "invalid_request",
    "jwks_unavailable",
    "misdirected_request",
    "not_ready",
    "request_timeout",
    "too_many_connections",
    "too_many_requests",
    "unauthorized",
}
"""Codes that no route names: operations have them by their kind."""

OPERATIONS = {one["operationId"]: (method, path) for method, path, one in operations()}


def test_every_declared_code_has_a_test() -> None:
    declared = {
        (one["operationId"], code)
        for _, _, one in operations()
        for answer in one["responses"].values()
        for code in answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", ())
        if code not in GENERAL
    }
    covered = {(case.operation, case.code) for case in CASES}
    elsewhere = {(operation, code) for operation, codes in ELSEWHERE.items() for code in codes}
    of_no_chat = {
        (operation, "chat_not_found")
        for operation, there in OPERATIONS.items()
        if there in chat_operations()  # test_unknown_chat_is_404_and_invalid_id_is_422
    }
    assert not covered & elsewhere
    assert declared == covered | elsewhere | of_no_chat
    unrouted = {"not_found", "method_not_allowed"}
    assert {code for _, code in declared} == PROBLEMS.keys() - GENERAL - unrouted
    for codes in ELSEWHERE.values():
        for code, file in codes.items():
            assert f'"{code}"' in (Path(__file__).parents[1] / file).read_text(), (code, file)


async def test_requests_refused_by_the_state_of_the_chat(dsn: str, database: Database) -> None:
    settings: dict[str, Any] = {"worker": {"enabled": False}, "limits": {"max_active_chats": 1}}
    async with running_daemon(dsn, models=("a", "b"), **settings) as chatd:
        for case in CASES:
            await database.fetch("DELETE FROM chats")  # chats of the case before count as active
            chat, ids = await stored_scene(database, case)
            before = await stored_rows(database, chat)
            method, template = OPERATIONS[case.operation]
            answer = await chatd.api.http.request(
                method, template.format(**ids), json=VALID_BODIES.get((method, template))
            )
            assert_problem(answer, PROBLEMS[case.code].status, case.code, NAMES.get(case.code, ""))
            assert await stored_rows(database, chat) == before, case


async def stored_scene(database: Database, case: Case) -> tuple[Chat, dict[str, str]]:
    """Store the chat of a case. Return it, and the values of path parameters."""
    other = await chat_with_status(database, Status.ERROR, queued=2, owner_id=LOCAL_OWNER)
    for _ in range(2):  # more messages than the chat has, as ids are those of one chat
        await insert_message(database, other, "user", "not of this chat")
    chat = await chat_with_status(
        database,
        case.status,
        queued=int(case.status is not Status.WAITING),
        owner_id=LOCAL_OWNER,
        archived=case.archived,
    )
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, max(id) + 1, 1, 'assistant', $2 FROM chat_messages WHERE chat_id = $1",
        chat.id,
        text_content("hi"),
    )
    if case.at_limit:
        await chat_with_status(database, Status.PENDING, owner_id=LOCAL_OWNER)
    target = other if case.message == "of another chat" else chat
    role = "assistant" if case.message == "answer" else "user"
    row = await database.fetchrow(
        "SELECT (SELECT max(id) FROM chat_messages WHERE chat_id = $1 AND role = $2) AS message,"
        " (SELECT max(id) FROM chat_queued_messages WHERE chat_id = $1) AS queued",
        target.id,
        role,
    )
    assert row is not None
    ids = {"chat_id": chat.id, "message_id": row["message"], "queued_id": row["queued"]}
    return chat, {name: str(value) for name, value in ids.items()}
