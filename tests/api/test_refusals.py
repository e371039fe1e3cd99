"""What is refused, by every route alike: each refusal is a problem with a code that does not change."""

import inspect
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from support.eventually import eventually
from support.factories import chat_with_status, stored_rows, text_content
from support.in_process import running_daemon
from support.openapi_conformance import operations
from support.requests import (
    PROBLEM_JSON,
    VALID_BODIES,
    assert_problem,
    chat_operations,
    open_stream,
    request_operation,
)

from chatd.api.errors.codes import PROBLEMS
from chatd.api.openapi.document import GENERAL_CODES
from chatd.domain.chat import Chat, Status
from chatd.domain.owner import LOCAL_OWNER
from chatd.store.database import Database

CREATE, SEND, CHANGE = (
    ("post", "/api/v1/chats"),
    ("post", "/api/v1/chats/{chat_id}/messages"),
    ("patch", "/api/v1/chats/{chat_id}"),
)

FAULTS: list[tuple[tuple[str, str], Any, str]] = [
    (CREATE, {"content": ""}, "body.content"),
    (CREATE, {"content": []}, "body.content"),
    (CREATE, {"content": 1}, "body.content"),
    (CREATE, {"content": {"type": "text", "text": "a"}}, "body.content"),
    (CREATE, {"content": [1]}, "body.content.parts.0"),
    (CREATE, {"content": [{"text": "a"}]}, "body.content.parts.0"),
    (CREATE, {"content": [{"type": "tool-result", "text": "a"}]}, "body.content.parts.0"),
    (CREATE, {"content": [{"type": "text"}]}, "body.content.parts.0.text.text"),
    (CREATE, {"content": [{"type": "text", "text": ""}]}, "body.content.parts.0.text.text"),
    (CREATE, {"content": [{"type": "text", "text": "a", "x": 1}]}, "body.content.parts.0.text.x"),
    (
        CREATE,
        {"content": [{"type": "file", "data": "aaaa"}]},
        "body.content.parts.0.file.media_type",
    ),
    (
        CREATE,
        {"content": [{"type": "file", "media_type": "image/png", "data": ""}]},
        "body.content.parts.0.file.data",
    ),
    (
        CREATE,
        {"content": [{"type": "file", "media_type": "image/png", "data": "http://inside/x"}]},
        "body.content.parts.0.file.data",
    ),
    (CREATE, {"titel": "a"}, "body.titel"),
    (CREATE, {"title": None}, "body.title"),
    (CREATE, {"title": "a" * 501}, "body.title"),
    (CREATE, {"labels": []}, "body.labels"),
    (CREATE, {"labels": {"a": 1}}, "body.labels.a"),
    (CREATE, {"labels": {"": "a"}}, "body.labels"),
    (CREATE, {"labels": {"k" * 201: "a"}}, "body.labels"),
    (CREATE, {"labels": {"a": "v" * 1001}}, "body.labels.a"),
    (CREATE, {"model": 1}, "body.model"),
    (CREATE, {"system_prompt": ["a"]}, "body.system_prompt"),
    (CREATE, [], "body"),
    (CREATE, None, "body"),
    (SEND, {}, "body.content"),
    (SEND, {"content": None}, "body.content"),
    (SEND, {"content": ""}, "body.content"),
    (SEND, {"content": "a", "busy_behavior": "wait"}, "body.busy_behavior"),
    (SEND, {"content": "a", "role": "system"}, "body.role"),
    (CHANGE, {"status": "waiting"}, "body.status"),
    (CHANGE, {"archived": "perhaps"}, "body.archived"),
    (CHANGE, {"title": "a" * 501}, "body.title"),
]


async def test_unknown_chat_is_404_and_invalid_id_is_422(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        assert len(chat_operations()) >= 6
        for method, path in chat_operations():
            assert_problem(await request_operation(chatd, method, path), 404, "chat_not_found")
            answer = await request_operation(chatd, method, path, "no-uuid")
            problem = assert_problem(answer, 422, "invalid_request", "path.chat_id")
            assert [error["where"] for error in problem["errors"]] == ["path.chat_id"]
        assert chatd.daemon.services.hub.subscriber_count == 0


async def test_invalid_body_names_the_field(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create(title="kept")
        for (method, path), body, where in FAULTS:
            answer = await request_operation(
                chatd, method, path, chat["id"], content=json.dumps(body), **JSON
            )
            problem = assert_problem(answer, 422, "invalid_request", where)
            (error,) = problem["errors"]
            assert error["where"].startswith(where), (body, error)
            assert error["message"]
        chats = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
        assert chats == [chat], "a refusal changed something"


async def test_invalid_body_names_every_mistake(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        body = {"content": "", "titel": "a", "labels": {"a": 1}}
        problem = assert_problem(
            await chatd.api.http.post("/api/v1/chats", json=body), 422, "invalid_request"
        )
        assert {e["where"] for e in problem["errors"]} == {
            "body.content.text",
            "body.titel",
            "body.labels.a",
        }


async def test_values_at_the_limits_are_accepted(dsn: str) -> None:
    labels = {f"{n:0200}": "v" * 1000 for n in range(64)}
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create(title="t" * 500, labels=labels)
        assert (chat["title"], chat["labels"]) == ("t" * 500, labels)
        page = await chatd.api.http.get("/api/v1/chats", params={"limit": 200})
        assert page.json()["items"] == [chat]


async def test_query_parameters_out_of_range_are_named(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        chats, chat = "/api/v1/chats", f"/api/v1/chats/{chat_id}"
        wrong = [
            *((path, "limit") for path in (chats, f"{chat}/messages", f"{chat}/events")),
            (f"{chat}/messages", "after_id"),
            (f"{chat}/messages", "before_id"),
            (f"{chat}/events", "after"),
        ]
        for path, name in wrong:
            numbers = ["-1", str(2**63), str(10**30), "9" * 5000, "1.5", "x", "", "\x00", "1\x00"]
            if name == "limit":
                numbers += ["0", "201"]
            for number in numbers:
                answer = await chatd.api.http.get(path, params={name: number})
                assert_problem(answer, 422, "invalid_request", f"query.{name}")
        for name, value in (("status", "idle"), ("status", "\x00"), ("archived", "perhaps")):
            answer = await chatd.api.http.get(chats, params={name: value})
            assert_problem(answer, 422, "invalid_request", f"query.{name}")


CURSORS = [
    "",
    "\x00",
    "abc",
    "A" * 3000,
    "ÿ",
    "MjAyNi0wMS0wMSB4",  # "2026-01-01 x"
    "OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMCA1YjVkMzVmYy1hYTkxLTQ2MDUtYmY4MS1hM2Q1YmJhNjM5NzY",
    "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCA1YjVkMzVmYy1hYTkxLTQ2MDUtYmY4MS1hM2Q1YmJhNjM5NzY",
]
"""The last two are the end and the start of the calendar, a few hours too far."""


async def test_foreign_list_cursor_is_refused(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for cursor in CURSORS:
            answer = await chatd.api.http.get("/api/v1/chats", params={"cursor": cursor})
            assert_problem(answer, 422, "invalid_cursor", "cursor")


JSON: dict[str, Any] = {"headers": {"content-type": "application/json"}}


async def test_body_over_the_limit_gets_413(dsn: str) -> None:
    most = 1024

    async def pieces(size: int) -> AsyncIterator[bytes]:
        body = json.dumps({"content": "a" * size}).encode()
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    async with running_daemon(dsn, http={"max_body_bytes": most}) as chatd:
        chat = await chatd.api.create()
        for method, path in VALID_BODIES:
            body = {"content": "a" * most}
            answer = await request_operation(chatd, method, path, chat["id"], json=body)
            assert_problem(answer, 413, "body_too_large", "1024 bytes", "http.max_body_bytes")
            answer = await request_operation(
                chatd, method, path, chat["id"], content=pieces(most), **JSON
            )
            assert answer.request.headers["transfer-encoding"] == "chunked"
            assert_problem(answer, 413, "body_too_large", "1024 bytes", "http.max_body_bytes")
        assert await chatd.api.chat(chat["id"]) == chat
        answer = await request_operation(
            chatd, *SEND, chat["id"], content=pieces(most - 20), **JSON
        )
        assert answer.status_code == 202, answer.text  # the very largest
        exact = json.dumps({"content": "a" * (most - 15)}).encode()
        assert len(exact) == most
        assert (await request_operation(chatd, *CREATE, content=exact, **JSON)).status_code == 201


async def test_announced_body_over_the_limit_gets_413_unread(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        body = {"content": "a" * (5 * 1024 * 1024)}
        assert_problem(await request_operation(chatd, *CREATE, json=body), 413, "body_too_large")
        assert_problem(await request_operation(chatd, *CREATE, json=body), 413, "body_too_large")
        assert (await request_operation(chatd, *CREATE)).status_code == 201


async def test_unread_body_does_no_harm(dsn: str) -> None:
    """A stream listens for its reader to leave; a body of any size is not that."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"a" * 100

    async with running_daemon(dsn, http={"max_body_bytes": 1024}) as chatd:
        chat = await chatd.api.create()
        path = f"/api/v1/chats/{chat['id']}"
        answer = await chatd.api.http.request("GET", path, content=pieces())
        assert answer.json() == chat
        async with open_stream(chatd, f"{path}/stream", content=pieces()) as stream:
            assert stream.status_code == 200
            assert "snapshot" in await anext(stream.aiter_lines())
            assert chatd.daemon.services.hub.subscriber_count == 1
        await eventually(lambda: chatd.daemon.services.hub.subscriber_count == 0)
    assert not chatd.logged("http.unexpected")


async def test_unknown_paths_and_methods(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for path in ("/nope", "/api/v1", "/api/v1/chat", "/API/V1/chats", "/api/v1//chats"):
            assert_problem(await chatd.api.http.get(path), 404, "not_found")
        chat_id = (await chatd.api.create())["id"]
        given = {(method, path) for method, path, _ in operations()}
        for _, path in sorted(given):
            for method in ("put", "options", "trace", "delete", "post"):
                if (method, path) in given:
                    continue
                answer = await request_operation(chatd, method, path, chat_id)
                assert_problem(answer, 405, "method_not_allowed")
                there = {m.upper() for m, one_path in given if one_path == path}
                assert set(answer.headers["allow"].split(", ")) == there


def plain(answer: httpx2.Response) -> str:
    return f"{answer.headers} {answer.text}"


_OF_ACTORS = frozenset({"since", "flush_parts", "forget_events", "forget_parts", "expire"})
"""What actors ask, who would fail with it."""


async def test_unexpected_error_hides_its_details(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("password=hunter2")

    async with running_daemon(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        store = chatd.daemon.services.store
        asked_of = (store.chats, store.messages, store.queue, store.tool_calls)
        for part in (store.reads, store.chat_lists, store.stream_reads, *asked_of):
            for name, method in inspect.getmembers(part, inspect.iscoroutinefunction):
                if not name.startswith("_") and method.__name__ not in _OF_ACTORS:
                    monkeypatch.setattr(part, name, broken)
        asked = [("get", "/api/v1/chats"), CREATE, *chat_operations()]
        for method, path in asked:
            answer = await request_operation(chatd, method, path, chat_id)
            assert_problem(answer, 500, "internal")
            assert "hunter2" not in plain(answer)
            assert "RuntimeError" not in plain(answer)
        lines = chatd.logged("http.unexpected")
        assert len(lines) == len(asked)
        assert {line["method"] for line in lines} == {"GET", "POST", "PATCH", "DELETE"}
        assert all(isinstance(line["exc_info"], RuntimeError) for line in lines)
        monkeypatch.undo()
        assert (await chatd.api.chat(chat_id))["id"] == chat_id  # and it lives on
        assert chatd.daemon.services.hub.subscriber_count == 0


QUERIES = [
    (method, path)
    for method, path, one in operations()
    if any(parameter["in"] == "query" for parameter in one.get("parameters", ()))
]


async def test_unknown_query_parameters_are_refused(dsn: str) -> None:
    """A filter that is misspelt would let everything through."""
    assert len(QUERIES) == 5
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create()
        for method, template in QUERIES:
            path = template.replace("{chat_id}", chat["id"])
            params = {"staus": "error", "": "x"}
            answer = await chatd.api.http.request(method, path, params=params)
            problem = assert_problem(answer, 422, "invalid_request", "query.staus")
            assert [error["where"] for error in problem["errors"]] == ["query.staus", "query."]
        answer = await chatd.api.http.get("/api/v1/chats", params={"staus": "error"})
        assert "did you mean status?" in answer.json()["detail"]


# -- every code that an operation names -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A request that one operation refuses, of a chat that is otherwise fit for it."""

    operation: str
    code: str
    status: Status = Status.WAITING
    """Of the chat. It has something said, an answer and, unless it waits, something queued."""
    archived: bool = False
    crowded: bool = False
    """Its owner has as many chats in flight as one may have."""
    about: Literal["said", "answered", "elsewhere"] = "said"
    """Which message, or queued message, is meant; the last: one of another chat."""


CASES = [
    Case("edit_message", "message_not_found", about="elsewhere"),
    Case("edit_message", "not_a_user_message", about="answered"),
    Case("edit_message", "chat_archived", archived=True),
    Case("edit_message", "too_many_active_chats", crowded=True),
    Case("edit_message", "too_many_active_chats", Status.ERROR, crowded=True),
    Case("clear_chat", "chat_archived", archived=True),
    Case("clear_chat", "chat_busy", Status.PENDING),
    Case("clear_chat", "chat_busy", Status.REQUIRES_ACTION),
    Case("retry_chat", "chat_archived", Status.ERROR, archived=True),
    Case("retry_chat", "nothing_to_retry"),
    Case("retry_chat", "nothing_to_retry", Status.PENDING),
    Case("retry_chat", "too_many_active_chats", Status.ERROR, crowded=True),
    Case("promote_queued_message", "queued_message_not_found", Status.PENDING, about="elsewhere"),
    Case("promote_queued_message", "chat_archived", Status.ERROR, archived=True),
    Case("promote_queued_message", "too_many_active_chats", Status.ERROR, crowded=True),
    Case("delete_queued_message", "queued_message_not_found", Status.PENDING, about="elsewhere"),
    Case("send_message", "chat_archived", archived=True),
    Case("send_message", "chat_archived", Status.ERROR, archived=True),
    Case("send_message", "too_many_active_chats", crowded=True),
    Case("send_message", "too_many_active_chats", Status.ERROR, crowded=True),
]

NAMES = {"too_many_active_chats": "limits.max_chats_in_flight"}
"""Settings that a refusal names."""

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "list_chats": {"invalid_cursor": "api/test_refusals.py"},
    "stream_chats": {"too_many_streams": "api/test_limits.py"},
    "create_chat": {
        "model_not_found": "api/test_messages.py",
        "too_many_active_chats": "api/test_limits.py",
        "too_many_labels": "api/test_limits.py",
        "too_many_parts": "api/test_limits.py",
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
        "model_not_found": "api/test_messages.py",
        "queue_full": "api/test_messages.py",
        "too_many_parts": "api/test_limits.py",
    },
    "edit_message": {"too_many_parts": "api/test_limits.py"},
    "submit_tool_results": {
        "no_action_required": "api/test_client_tools.py",
        "tool_call_unknown": "api/test_client_tools.py",
        "tool_results_missing": "api/test_client_tools.py",
    },
    "readyz": {"not_ready": "api/test_health.py"},
}
"""operation → code → the file whose tests ask for it, as it takes more than a chat in some state."""

GENERAL = {code for codes in GENERAL_CODES.values() for code in codes}
"""Codes that no route names: operations have them by their kind."""

OPERATIONS = {one["operationId"]: (method, path) for method, path, one in operations()}


def test_every_declared_code_has_a_test() -> None:
    named = {
        (one["operationId"], code)
        for _, _, one in operations()
        for answer in one["responses"].values()
        for code in answer.get("content", {}).get(PROBLEM_JSON, {}).get("examples", ())
        if code not in GENERAL
    }
    asked = {(case.operation, case.code) for case in CASES}
    elsewhere = {(operation, code) for operation, codes in ELSEWHERE.items() for code in codes}
    of_no_chat = {
        (operation, "chat_not_found")
        for operation, there in OPERATIONS.items()
        if there in chat_operations()  # test_unknown_chat_is_404_and_invalid_id_is_422
    }
    assert not asked & elsewhere
    assert named == asked | elsewhere | of_no_chat
    unrouted = {"not_found", "method_not_allowed"}
    assert {code for _, code in named} == PROBLEMS.keys() - GENERAL - unrouted
    for codes in ELSEWHERE.values():
        for code, file in codes.items():
            assert f'"{code}"' in (Path(__file__).parents[1] / file).read_text(), (code, file)


async def test_requests_refused_by_the_state_of_the_chat(dsn: str, database: Database) -> None:
    quiet: dict[str, Any] = {"worker": {"enabled": False}, "limits": {"max_chats_in_flight": 1}}
    async with running_daemon(dsn, models=("a", "b"), **quiet) as chatd:
        for case in CASES:
            await database.fetch("DELETE FROM chats")  # those of one case would crowd the next
            chat, ids = await scene(database, case)
            before = await stored_rows(database, chat)
            method, template = OPERATIONS[case.operation]
            answer = await chatd.api.http.request(
                method, template.format(**ids), json=VALID_BODIES.get((method, template))
            )
            assert_problem(answer, PROBLEMS[case.code].status, case.code, NAMES.get(case.code, ""))
            assert await stored_rows(database, chat) == before, case


async def scene(database: Database, case: Case) -> tuple[Chat, dict[str, str]]:
    """The chat of a case, and what its path is filled with."""
    other = await chat_with_status(database, Status.ERROR, queued=1, owner_id=LOCAL_OWNER)
    chat = await chat_with_status(
        database,
        case.status,
        queued=int(case.status is not Status.WAITING),
        owner_id=LOCAL_OWNER,
        archived=case.archived,
    )
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, version, role, content) VALUES ($1, 1, 'assistant', $2)",
        chat.id,
        text_content("hi"),
    )
    if case.crowded:
        await chat_with_status(database, Status.PENDING, owner_id=LOCAL_OWNER)
    meant = other if case.about == "elsewhere" else chat
    role = "assistant" if case.about == "answered" else "user"
    row = await database.fetchrow(
        "SELECT (SELECT min(id) FROM chat_messages WHERE chat_id = $1 AND role = $2) AS message,"
        " (SELECT min(id) FROM chat_queued_messages WHERE chat_id = $1) AS queued",
        meant.id,
        role,
    )
    assert row is not None
    ids = {"chat_id": chat.id, "message_id": row["message"], "queued_id": row["queued"]}
    return chat, {name: str(value) for name, value in ids.items()}
