"""MCP servers over HTTP: the SDK's own, and ones whose answers no client should have to take."""

import gzip
import json

import anyio
import pytest
from support.mcp_http_server import (
    Request,
    chosen_answers,
    ordinary,
    response,
    running_at,
    sdk_server,
    served,
)

from chatd.tools.mcp.config import MAX_MESSAGE_BYTES
from chatd.tools.tool import ToolProgress


@pytest.mark.parametrize("options", [{}, {"json_response": True}, {"stateless_http": True}])
async def test_server_of_the_sdk_answers(options: dict[str, bool]) -> None:
    async with served(sdk_server(), **options) as url, running_at(url) as server:
        tool, _ = (await server.tools()).tools
        assert (tool.offered_name, tool.description) == ("srv__add", "Add two numbers.")
        result = await server.call("add", {"a": 1, "b": 2}, seconds=20)
        assert (result.text, result.is_error) == ("3", False)
        assert (await server.call("add", {"a": "x"}, seconds=20)).is_error


async def test_server_of_the_sdk_reports_its_progress() -> None:
    reports: list[ToolProgress] = []
    async with served(sdk_server()) as url, running_at(url) as server:
        result = await server.call("count", {"to": 3}, seconds=20, on_progress=reports.append)
    assert result.text == "counted"
    assert reports == [ToolProgress(progress=n, total=3, message=f"at {n}") for n in range(1, 4)]


async def test_headers_of_the_configuration_go_to_the_server_and_nowhere_else() -> None:
    async with chosen_answers(ordinary) as elsewhere:

        def redirect(request: Request) -> bytes:
            if request.message.get("method") != "tools/call":
                return ordinary(request)
            return response(307, b"", headers=f"Location: {elsewhere.url}\r\n")

        headers = {"X-Key": "secret"}
        async with (
            chosen_answers(redirect) as chosen,
            running_at(chosen.url, headers=headers) as server,
        ):
            result = await server.call("t", {}, seconds=20)
    assert result.is_error
    assert not elsewhere.requests
    assert {request.headers["x-key"] for request in chosen.requests} == {"secret"}


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_status_of_a_refusal_is_told(status: int) -> None:
    answer = chosen_answers(lambda _: response(status, b"no"))
    async with answer as chosen, running_at(chosen.url) as server:
        await server.tools()
        assert (
            server.absence == f"MCP server srv is not available: it answered with status {status}"
        )


async def test_address_without_a_server_is_unavailable() -> None:
    async with chosen_answers(ordinary) as chosen:
        pass
    async with running_at(chosen.url) as server:
        await server.tools()
        assert server.absence == "MCP server srv is not available: it could not be reached"


async def test_calls_that_are_never_answered_keep_no_more_than_so_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatd.tools.mcp.server.MAX_ABANDONED_CALLS", 3)
    most = 0

    def silent(request: Request) -> bytes | None:
        return None if request.message.get("method") == "tools/call" else ordinary(request)

    async with chosen_answers(silent) as chosen, running_at(chosen.url) as server:
        await server.tools()
        while len(calls := chosen.messages("tools/call")) < 10:  # one may wait for a connection
            await server.call("t", {}, seconds=0.2)
            most = max(most, chosen.unanswered)
        assert len(chosen.messages("initialize")) >= len(calls) // 4
    assert 0 < most <= 4, "three, and the call that was under way"


def _large(request: Request) -> bytes:
    return response(
        200, b" " * (MAX_MESSAGE_BYTES + 1) + ordinary(request).partition(b"\r\n\r\n")[2]
    )


def _compressed(request: Request) -> bytes:
    body = gzip.compress(ordinary(request).partition(b"\r\n\r\n")[2])
    return response(200, body, headers="Content-Encoding: gzip\r\n")


def _large_event(_: Request) -> bytes:
    return response(200, b"data: " + b"x" * (MAX_MESSAGE_BYTES + 1), media_type="text/event-stream")


def _endless_events(_: Request) -> bytes:
    note = {"jsonrpc": "2.0", "method": "notifications/message"}
    event = f"data: {json.dumps({**note, 'params': {'level': 'info', 'data': 'x'}})}\n\n"
    return response(200, event.encode() * 20_000, media_type="text/event-stream")


def _garbage(_: Request) -> bytes:
    return response(200, b"\x00[[[[")


def _no_utf8(request: Request) -> bytes:
    return response(200, ordinary(request).partition(b"\r\n\r\n")[2].replace(b"done", b"\xff\xc3("))


def _other_type(_: Request) -> bytes:
    return response(200, b"<html>", media_type="text/html")


@pytest.mark.parametrize(
    "answer", [_large, _compressed, _large_event, _endless_events, _garbage, _no_utf8, _other_type]
)
async def test_answer_that_cannot_be_taken_is_an_error_and_the_next_call_works(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.tools.mcp.intake.MAX_UNREQUESTED_MESSAGES", 200)
    bad = True

    def answers(request: Request) -> bytes:
        if request.message.get("method") == "tools/call" and bad:
            return answer(request)  # type: ignore[operator]
        return ordinary(request)

    async with chosen_answers(answers) as chosen, running_at(chosen.url) as server:
        await server.tools()
        with anyio.fail_after(10):
            result = await server.call("t", {}, seconds=20)
            assert result.is_error
            assert len(result.text) < 500
            bad = False
            assert (await server.call("t", {}, seconds=20)).text == "done"


async def test_deaf_address_delays_a_call_by_its_time_limit_and_no_more() -> None:
    async with (
        chosen_answers(lambda _: None) as chosen,
        running_at(chosen.url, connect_seconds=0.3) as server,
    ):
        with anyio.fail_after(2):
            await server.tools()
        assert server.absence == "MCP server srv is not available: it was not ready within 0.3 s"


async def test_server_that_was_started_anew_is_connected_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatd.tools.mcp.server.CLOSE_SECONDS", 0.1)
    sessions = {"known"}

    def answer(request: Request) -> bytes | None:
        if request.method == "DELETE":
            return None  # it is deaf to the leave that the client takes
        message = request.message.get("method")
        if message == "initialize":
            head, _, body = ordinary(request).partition(b"\r\n\r\n")
            (session,) = sessions
            return head + b"\r\nMcp-Session-Id: " + session.encode() + b"\r\n\r\n" + body
        session_id = request.headers.get("mcp-session-id")
        return ordinary(request) if session_id in (None, *sessions) else response(404, b"")

    async with chosen_answers(answer) as chosen, running_at(chosen.url) as server:
        assert (await server.call("t", {}, seconds=20)).text == "done"
        sessions = {"new"}
        lost = await server.call("t", {}, seconds=20)
        assert lost.text == (
            "MCP server srv: it answered with status 404. The call may have had effects."
        )
        assert (await server.call("t", {}, seconds=20)).text == "done"
