"""Requests for every operation of the API, and checks of their responses."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2

from chatd.api.errors.codes import PROBLEMS
from support.in_process import InProcessDaemon
from support.openapi_conformance import document, find_operation, operations

__all__ = [
    "PROBLEM_JSON",
    "VALID_BODIES",
    "assert_problem",
    "chat_operations",
    "document",
    "fetch_all_pages",
    "find_operation",
    "ids_of",
    "open_stream",
    "operations",
    "refused_stream",
    "request_operation",
]

PROBLEM_JSON = "application/problem+json"

VALID_BODIES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("post", "/api/v1/chats"): {},
    ("patch", "/api/v1/chats/{chat_id}"): {"title": "a title"},
    ("post", "/api/v1/chats/{chat_id}/fork"): {},
    ("post", "/api/v1/chats/{chat_id}/compact"): {"instructions": "keep the names"},
    ("post", "/api/v1/chats/{chat_id}/messages"): {"content": "hello"},
    ("post", "/api/v1/chats/{chat_id}/append"): {
        "messages": [{"role": "assistant", "content": "hello"}]
    },
    ("post", "/api/v1/chats/{chat_id}/tool-results"): {
        "results": [{"tool_call_id": "a", "result": "sunny"}]
    },
    ("post", "/api/v1/chats/{chat_id}/actions"): {
        "answers": [{"tool_call_id": "a", "decision": "allow"}]
    },
    ("patch", "/api/v1/chats/{chat_id}/messages/{message_id}"): {"content": "hello again"},
}
"""A valid body for every operation that takes one."""


def chat_operations() -> list[tuple[str, str]]:
    """Return method and path template of every operation on one chat of the caller's."""
    return [
        (method, path)
        for method, path, _ in operations()
        if "{chat_id}" in path and not path.startswith("/api/v1/fleet/")
    ]


def assert_problem(
    answer: httpx2.Response, status: int, code: str, *expected_words: str
) -> dict[str, Any]:
    """Check that ``answer`` is this problem, with these words in its detail, and that it is documented."""
    assert answer.status_code == status, (answer.request.url, answer.status_code, answer.text)
    assert answer.headers["content-type"] == PROBLEM_JSON
    problem: dict[str, Any] = answer.json()
    named = {"decisions"} if code == "already_answered" else set()
    assert problem.keys() == {"type", "title", "status", "code", "detail", "errors"} | named
    assert (problem["status"], problem["code"]) == (status, code), problem
    passes = PROBLEMS[code].retry_after_seconds is not None
    assert answer.headers.get("retry-after", "no").isdigit() == passes, answer.headers
    assert problem["title"]
    assert problem["detail"]
    for words in expected_words:
        assert words in problem["detail"], problem
    operation = find_operation(answer.request)
    if operation is not None:
        described = operation["responses"].get(str(status))
        assert described, (
            f"{answer.request.method} {answer.request.url.path}: {status} undocumented"
        )
        assert list(described["content"]) == [PROBLEM_JSON]
        assert code in described["content"][PROBLEM_JSON]["examples"], (
            f"{code} is not documented here"
        )
    return problem


async def request_operation(
    chatd: InProcessDaemon, method: str, template: str, chat_id: str | None = None, **more: Any
) -> httpx2.Response:
    """Request an operation with a valid body, by default on a chat that does not exist."""
    if (method, template) in VALID_BODIES:
        more.setdefault("json", VALID_BODIES[method, template])
    return await chatd.api.http.request(method.upper(), fill_path(template, chat_id), **more)


def fill_path(template: str, chat_id: str | None = None) -> str:
    """Return a path of this template, for that chat or for one that does not exist."""
    path = template.replace("{chat_id}", chat_id or str(uuid4()))
    for name in ("{file_id}", "{worker_id}"):
        path = path.replace(name, str(uuid4()))
    return re.sub(r"\{\w+\}", "1", path)  # an id that does not exist


def ids_of(response: httpx2.Response) -> tuple[int, dict[str, Any]]:
    """Return what stays the same in every response to one request: its status, and the ids in it."""
    body = response.json()
    parts = {"": body, **{name: value for name, value in body.items() if isinstance(value, dict)}}
    return response.status_code, {
        name: part["id"] for name, part in parts.items() if part.get("id") is not None
    }


def is_stream(operation: Mapping[str, Any]) -> bool:
    """Return whether an operation answers with events."""
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


async def fetch_all_pages(
    chatd: InProcessDaemon, path: str, cursor_param: str = "cursor", **params: Any
) -> list[dict[str, Any]]:
    """Return all items of a list, read page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await chatd.api.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= params["limit"]
        assert page["items"] or page["next_cursor"] is None
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert len(page["items"]) == params["limit"], "a page that is not full, and not the last"
        params[cursor_param] = page["next_cursor"]


@asynccontextmanager
async def open_stream(
    chatd: InProcessDaemon, path: str, **more: Any
) -> AsyncIterator[httpx2.Response]:
    """Open a stream. Yield its response, of which no event is read yet."""
    async with chatd.api.http.stream("GET", path, **more) as answer:
        yield answer


async def refused_stream(chatd: InProcessDaemon, path: str, **more: Any) -> httpx2.Response:
    """Return the response to a stream that is to be refused. One that is opened would never end."""
    async with open_stream(chatd, path, **more) as answer:
        assert answer.status_code != 200, f"{path} is streamed"
        await answer.aread()
        return answer
