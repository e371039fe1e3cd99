"""Invalid requests: bodies, parameters, paths and sizes, refused alike by every route."""

import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.openapi_conformance import operations
from support.requests import (
    VALID_BODIES,
    assert_problem,
    chat_operations,
    open_stream,
    request_operation,
)

CREATE, SEND, CHANGE, ANSWER = (
    ("post", "/api/v1/chats"),
    ("post", "/api/v1/chats/{chat_id}/messages"),
    ("patch", "/api/v1/chats/{chat_id}"),
    ("post", "/api/v1/chats/{chat_id}/actions"),
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
    (ANSWER, {"answers": []}, "body.answers"),
    *(
        (ANSWER, {"answers": [{"tool_call_id": "a", **answer}]}, f"body.answers.0.{where}")
        for answer, where in (
            ({}, "result.result"),
            ({"decision": "perhaps"}, "approval.decision"),
            ({"decision": "deny", "args": {}}, "approval"),
            ({"decision": "allow", "content": 1}, "approval.content"),
            ({"input": "decline", "content": 1}, "input"),
        )
    ),
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


async def test_invalid_body_names_the_field(chatd: InProcessDaemon) -> None:
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
    assert chats == [chat], "a refused request changed something"


async def test_invalid_body_names_every_mistake(chatd: InProcessDaemon) -> None:
    body = {"content": "", "titel": "a", "labels": {"a": 1}}
    problem = assert_problem(
        await chatd.api.http.post("/api/v1/chats", json=body), 422, "invalid_request"
    )
    assert {e["where"] for e in problem["errors"]} == {
        "body.content.text",
        "body.titel",
        "body.labels.a",
    }


async def test_values_at_the_limits_are_accepted(chatd: InProcessDaemon) -> None:
    labels = {f"{n:0200}": "v" * (1000 if n < 3 else 50) for n in range(54)}
    labels["n"] = "v" * (16_384 - 1 - sum(len(name + value) for name, value in labels.items()))
    chat = await chatd.api.create(title="t" * 500, labels=labels)
    assert (chat["title"], chat["labels"]) == ("t" * 500, labels)
    page = await chatd.api.http.get("/api/v1/chats", params={"limit": 200})
    assert page.json()["items"] == [chat]


async def test_query_parameters_out_of_range_are_named(chatd: InProcessDaemon) -> None:
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
    "A" * 250,
    "ÿ",
    "MjAyNi0wMS0wMSB4",  # "2026-01-01 x"
    "OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMCA1YjVkMzVmYy1hYTkxLTQ2MDUtYmY4MS1hM2Q1YmJhNjM5NzY",
    "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCA1YjVkMzVmYy1hYTkxLTQ2MDUtYmY4MS1hM2Q1YmJhNjM5NzY",
]
"""The last two are the end and the start of the calendar, a few hours too far."""


async def test_foreign_list_cursor_is_refused(chatd: InProcessDaemon) -> None:
    for cursor in CURSORS:
        answer = await chatd.api.http.get("/api/v1/chats", params={"cursor": cursor})
        assert_problem(answer, 422, "invalid_cursor", "cursor")


JSON: dict[str, Any] = {"headers": {"content-type": "application/json"}}


async def test_body_over_the_limit_gets_413(dsn: str) -> None:
    limit = 1024

    async def pieces(size: int) -> AsyncIterator[bytes]:
        body = json.dumps({"content": "a" * size}).encode()
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    async with running_daemon(dsn, http={"max_body_bytes": limit}) as chatd:
        chat = await chatd.api.create()
        for method, path in VALID_BODIES:
            body = {"content": "a" * limit}
            answer = await request_operation(chatd, method, path, chat["id"], json=body)
            assert_problem(answer, 413, "body_too_large", "1024 bytes", "http.max_body_bytes")
            answer = await request_operation(
                chatd, method, path, chat["id"], content=pieces(limit), **JSON
            )
            assert answer.request.headers["transfer-encoding"] == "chunked"
            assert_problem(answer, 413, "body_too_large", "1024 bytes", "http.max_body_bytes")
        assert await chatd.api.chat(chat["id"]) == chat
        answer = await request_operation(
            chatd, *SEND, chat["id"], content=pieces(limit - 20), **JSON
        )
        assert answer.status_code == 202, answer.text  # the largest allowed
        exact = json.dumps({"content": "a" * (limit - 15)}).encode()
        assert len(exact) == limit
        assert (await request_operation(chatd, *CREATE, content=exact, **JSON)).status_code == 201


async def test_announced_body_over_the_limit_gets_413_unread(chatd: InProcessDaemon) -> None:
    body = {"content": "a" * (5 * 1024 * 1024)}
    assert_problem(await request_operation(chatd, *CREATE, json=body), 413, "body_too_large")
    assert_problem(await request_operation(chatd, *CREATE, json=body), 413, "body_too_large")
    assert (await request_operation(chatd, *CREATE)).status_code == 201


async def test_unread_body_does_no_harm(dsn: str) -> None:
    """A stream waits for its client to disconnect. A body of any size is no disconnect."""

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


PROBES = {"/livez", "/readyz"}
"""Paths that answer HEAD too, which the document leaves out."""


async def test_unknown_paths_and_methods(chatd: InProcessDaemon) -> None:
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
            there |= {"HEAD"} if path in PROBES else set()
            assert set(answer.headers["allow"].split(", ")) == there


def full_text(answer: httpx2.Response) -> str:
    return f"{answer.headers} {answer.text}"


_ACTOR_METHODS = frozenset({"updates_since", "flush_parts", "expire"})
"""Methods that actors call, which would fail too."""


async def test_unexpected_error_hides_its_details(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("password=hunter2")

    async with running_daemon(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        chatd.daemon.services.hub.new_chats.forget_all()  # a stream of a new chat reads nothing
        store = chatd.daemon.services.store
        commands = (store.chats, store.messages, store.queue, store.tool_calls)
        for part in (store.reads, store.files, store.chat_lists, store.stream_reads, *commands):
            for name, method in inspect.getmembers(part, inspect.iscoroutinefunction):
                if not name.startswith("_") and method.__name__ not in _ACTOR_METHODS:
                    monkeypatch.setattr(part, name, broken)
        asked = [("get", "/api/v1/chats"), CREATE, *chat_operations()]
        for method, path in asked:
            answer = await request_operation(chatd, method, path, chat_id)
            assert_problem(answer, 500, "internal")
            assert "hunter2" not in full_text(answer)
            assert "RuntimeError" not in full_text(answer)
        lines = chatd.logged("http.unexpected")
        assert len(lines) == len(asked)
        assert {line["method"] for line in lines} == {"GET", "POST", "PATCH", "DELETE"}
        assert all(isinstance(line["exc_info"], RuntimeError) for line in lines)
        monkeypatch.undo()
        assert (await chatd.api.chat(chat_id))["id"] == chat_id  # the daemon goes on
        assert chatd.daemon.services.hub.subscriber_count == 0


QUERIES = [
    (method, path)
    for method, path, one in operations()
    if any(parameter["in"] == "query" for parameter in one.get("parameters", ()))
]


async def test_unknown_query_parameters_are_refused(chatd: InProcessDaemon) -> None:
    """A misspelt filter would let everything through."""
    assert len(QUERIES) == 8
    chat = await chatd.api.create()
    for method, template in QUERIES:
        path = template.replace("{chat_id}", chat["id"])
        params = {"staus": "error", "": "x"}
        answer = await chatd.api.http.request(method, path, params=params)
        problem = assert_problem(answer, 422, "invalid_request", "query.staus")
        assert [error["where"] for error in problem["errors"]] == ["query.staus", "query."]
    answer = await chatd.api.http.get("/api/v1/chats", params={"staus": "error"})
    assert "did you mean status?" in answer.json()["detail"]
