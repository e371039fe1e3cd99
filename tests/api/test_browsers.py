"""Requests that web pages of others have a browser make, and the headers of every response."""

import asyncio
from typing import Any

import pytest
from support.auth import authenticated_daemons, bearer
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted
from support.requests import VALID_BODIES, assert_problem, fill_path, is_stream, operations

CHATS = "/api/v1/chats"
UNSAFE = [(method, path) for method, path, _ in operations() if method not in {"get", "head"}]
FOREIGN = [
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "http://127.0.0.1:1",
    "x",
]


async def test_without_authentication_only_loopback_hosts_are_served(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        port = chatd.daemon.server.port
        http = chatd.api.http
        for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST", "127.0.0.2"):
            for authority in (host, f"{host}:{port}"):
                answer = await http.get(CHATS, headers={"host": authority})
                assert answer.status_code == 200, authority
        for host in (
            "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example#localhost",
            "10.0.0.1", "[::2]", "localhost:8080:evil", "", "user@localhost",
        ):  # fmt: skip
            for path in (CHATS, "/livez", "/metrics", "/openapi.json"):
                answer = await http.get(path, headers={"host": host})
                assert_problem(answer, 421, "misdirected_request")
        answer = await http.options(CHATS, headers={"host": "evil.example"})
        assert answer.status_code == 421
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 421 ")
        writer.close()
        await writer.wait_closed()


async def test_with_authentication_any_host_is_served(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = await at.new_caller_headers("ann")
        answer = await at.chatd.api.http.get(CHATS, headers=ann | {"host": "chat.example"})
        assert answer.status_code == 200


async def refused_everywhere(chatd: InProcessDaemon, headers: dict[str, str]) -> None:
    """Check that no unsafe operation of the document is served with these headers."""
    for method, template in UNSAFE:
        body = VALID_BODIES.get((method, template))
        answer = await chatd.api.http.request(
            method, fill_path(template), json=body, headers=headers
        )
        assert_problem(answer, 403, "foreign_origin")


async def test_foreign_origins_change_nothing_in_any_mode(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for origin in FOREIGN:
            await refused_everywhere(chatd, {"origin": origin})
        assert (await chatd.api.http.get(CHATS, headers={"origin": FOREIGN[0]})).status_code == 200
        own = f"http://127.0.0.1:{chatd.daemon.server.port}"
        answer = await chatd.api.http.post(CHATS, json={}, headers={"origin": own})
        assert answer.status_code == 201
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = await at.new_caller_headers("ann")
        await refused_everywhere(at.chatd, ann | {"origin": FOREIGN[0]})
        behind_proxy = {"host": "chat.example", "origin": "https://chat.example"}
        answer = await at.chatd.api.http.post(CHATS, json={}, headers=ann | behind_proxy)
        assert answer.status_code == 201


async def test_origins_of_the_setting_may_change_things(dsn: str) -> None:
    http = {"cors_origins": ["https://app.example.com"]}
    async with running_daemon(dsn, http=http) as chatd:
        for origin, status in (("https://app.example.com", 201), ("https://evil.example", 403)):
            answer = await chatd.api.http.post(CHATS, json={}, headers={"origin": origin})
            assert answer.status_code == status


async def test_responses_have_the_headers_of_their_kind(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        http = chatd.api.http
        made = await http.post(CHATS, json={})
        assert made.headers["location"] == f"{CHATS}/{made.json()['id']}"
        assert (await http.get(made.headers["location"])).json() == made.json()
        for method, template, operation in operations():
            if is_stream(operation):
                continue
            answer = await http.request(method, fill_path(template, made.json()["id"]))
            assert answer.headers["cache-control"] == "no-store", template
            assert "server" not in answer.headers
        for headers in ({"host": "evil.example"}, bearer("x")):
            answer = await http.get("/nowhere", headers=headers)
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", '[{"a": [1, -1e400]}]']
)
async def test_numbers_that_json_has_not_are_refused(chatd: InProcessDaemon, number: str) -> None:
    chat = await chatd.api.create(tools=[tool()])
    body = f'{{"results": [{{"tool_call_id": "a", "result": {number}}}]}}'
    answer = await chatd.api.http.post(
        f"{CHATS}/{chat['id']}/tool-results",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 422, "invalid_request", "NaN")


def tool() -> dict[str, Any]:
    return {"name": "weather", "description": "", "parameters": {"type": "object"}}


async def test_label_names_have_no_colon(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    for answer in (
        await chatd.api.http.post(CHATS, json={"labels": {"a:b": "c"}}),
        await chatd.api.http.patch(f"{CHATS}/{chat['id']}", json={"labels": {"ok": "", "a:": ""}}),
    ):
        assert_problem(answer, 422, "invalid_request", "body.labels")


async def test_what_is_so_already_is_no_change(dsn: str) -> None:
    async with running_daemon(dsn, scripted(hang=[{"hang": True}])) as chatd:
        chat = await chatd.api.create("[[hang]]")
        path = f"{CHATS}/{chat['id']}"
        await chatd.api.wait_for_status(chat["id"], "running")
        body = {"title": "new", "archived": False}
        key = {"idempotency-key": "one"}
        for _ in range(2):
            answer = await chatd.api.http.patch(path, json=body, headers=key)
            assert (answer.status_code, answer.json()["title"]) == (200, "new")
        version = answer.json()["version"]
        answer = await chatd.api.http.patch(path, json={"archived": False})
        assert (answer.status_code, answer.json()["version"]) == (200, version)
        answer = await chatd.api.http.patch(path, json={"archived": True})
        assert_problem(answer, 409, "chat_tree_busy")


@pytest.mark.parametrize(("more", "warned"), [({}, True), ({"behind_tls_proxy": True}, False)])
async def test_listening_beyond_this_host_without_tls_warns(
    dsn: str, more: dict[str, Any], warned: bool
) -> None:
    http = {"host": "0.0.0.0", **more}
    async with running_daemon(dsn, auth={"mode": "token"}, http=http) as chatd:
        assert bool(chatd.logged("http.without_tls", host="0.0.0.0")) is warned
    async with running_daemon(dsn) as chatd:
        assert not chatd.logged("http.without_tls")
