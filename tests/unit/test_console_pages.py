"""Pages in place of what the API refuses, and requests that are none of the console's."""

import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from chatd.console.app import Console
from chatd.console.config import ConsoleConfig
from chatd.daemon.wiring.console import with_console
from chatd.settings import Settings

CONFIG = ConsoleConfig(
    signs_in=False,
    secret="",
    session_hours=1,
    behind_tls_proxy=False,
    loopback_only=True,
    allowed_origins=(),
)


class StubApi:
    """An API that answers everything with one problem, or fails."""

    def __init__(self, status: int, detail: str = "") -> None:
        self.status = status
        self.detail = detail
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        if not self.status:
            raise ValueError("a bug")
        body = json.dumps({"code": "some_code", "detail": self.detail}).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def get(
    api: StubApi, path: str, host: str = "localhost:8080"
) -> tuple[int, dict[str, str], str]:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host.encode())],
    }
    await Console(api, CONFIG)(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return (
        messages[0]["status"],
        headers,
        b"".join(m.get("body", b"") for m in messages[1:]).decode(),
    )


@pytest.mark.parametrize(
    ("status", "shown", "words"),
    [
        (403, 403, "Not allowed"), (404, 404, "Nothing here"), (429, 429, "Too many requests"),
        (500, 500, "Something went wrong"), (0, 500, "Something went wrong"),
        (502, 500, "Something went wrong"),
        (503, 503, "Not available just now"),
    ],
)  # fmt: skip
async def test_problem_of_the_api_is_a_page_in_words(status: int, shown: int, words: str) -> None:
    answered, headers, html = await get(StubApi(status, "<b>why</b>"), "/")
    assert (answered, words in html) == (shown, True)
    assert "<b>why" not in html
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert ('http-equiv="refresh"' in html) is (shown == 503)


@pytest.mark.parametrize(
    "path", ["/api/v1/chats", "/livez", "/docs", "/metrics", "/chats", "/other"]
)
async def test_everything_else_is_passed_on(path: str) -> None:
    api = StubApi(418)
    assert (await get(api, path))[0] == 418
    assert api.paths == [path]


async def test_page_has_only_loopback_names_without_authentication() -> None:
    api = StubApi(200)
    assert (await get(api, "/", host="rebound.test"))[0] == 421
    assert api.paths == []


def test_server_calls_the_api_itself_without_a_console() -> None:
    api = StubApi(200)
    assert with_console(api, Settings()) is api
