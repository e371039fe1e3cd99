"""Malformed and hostile requests. None of them may be answered with a 5xx."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.requests import PROBLEM_JSON, assert_problem, open_stream

from chatd.api.request.headers import IDEMPOTENCY_KEY, LAST_EVENT_ID, OWNER

JSON = {"content-type": "application/json"}

BODIES: Mapping[bytes, tuple[int, str]] = {
    b"": (422, "invalid_request"),
    b"{": (422, "invalid_request"),
    b'{"content": "a"}}': (422, "invalid_request"),
    b"\x00": (422, "invalid_request"),
    b"\x1f\x8b\x08\x00": (400, "bad_request"),
    b'{"content": "\xff"}': (400, "bad_request"),
    b'{"content": NaN}': (422, "invalid_request"),
    b'{"content": 1e999}': (422, "invalid_request"),
    b'{"content": ' + b"9" * 5000 + b"}": (400, "bad_request"),
    b"[" * 100_000: (422, "invalid_request"),
    b'{"content": ' + b"[" * 100_000: (422, "invalid_request"),
    b'{"content": ' + b"[" * 900 + b"]" * 900 + b"}": (422, "invalid_request"),
    b'{"labels": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}": (422, "invalid_request"),
    b'{"\\ud800": 1}': (422, "invalid_request"),
    b'{"a\\u0000": 1}': (422, "invalid_request"),
    b'{"content": "a", "model": "\\ud800"}': (422, "model_not_found"),
    b'{"content": [{"type": "\\ud800"}]}': (422, "invalid_request"),
}

TYPES = [
    None,
    "",
    ";;;",
    "text/plain",
    "application/jsonp",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
]

HEADERS: list[dict[str, str]] = [
    {"host": "ev il"},
    {"host": ""},
    {"accept": "text/html"},
    {"accept-encoding": "gzip, br;q=nan"},
    {"range": "bytes=0-1"},
    {"x-filler": "a" * 60_000},
    {"connection": "upgrade", "upgrade": "websocket"},
    {"connection": "upgrade", "upgrade": "h2c"},
    {"expect": "100-continue"},
    {"transfer-encoding": "chunked"},
    {"content-encoding": "br"},
    {"last-event-id": "-1.-1.-1"},
    {"cookie": "=;;="},
    {"x-forwarded-for": "' OR 1=1 --", "x-forwarded-proto": "javascript"},
]


async def test_hostile_bodies_are_refused(chatd: InProcessDaemon) -> None:
    for body, (status, code) in BODIES.items():
        answer = await chatd.api.http.post("/api/v1/chats", content=body, headers=JSON)
        assert_problem(answer, status, code)
    assert (await chatd.api.http.get("/api/v1/chats")).json()["items"] == []


async def test_body_without_json_content_type_is_named(chatd: InProcessDaemon) -> None:
    """A page of another site can make a browser send such a body without a preflight request."""
    for media_type in TYPES:
        headers = {} if media_type is None else {"content-type": media_type}
        answer = await chatd.api.http.post(
            "/api/v1/chats", content=b'{"content": "a"}', headers=headers
        )
        assert_problem(answer, 422, "invalid_request", "content-type")
    for media_type in ("application/json; charset=utf-8", "application/merge-patch+json"):
        answer = await chatd.api.http.post(
            "/api/v1/chats", content=b"{}", headers={"content-type": media_type}
        )
        assert answer.status_code == 201, answer.text


async def test_hostile_headers_do_no_harm(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    for headers in HEADERS:
        answer = await chatd.api.http.get(f"/api/v1/chats/{chat['id']}", headers=headers)
        assert (answer.status_code, answer.json()) == (200, chat), headers


async def test_hostile_paths_and_queries_are_refused(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create())["id"]
    for wrong in ("%00", "%ff", "a" * 60_000, f"{chat_id}%00", "%2e%2e", "'--", "0", "-"):
        answer = await chatd.api.http.get(f"/api/v1/chats/{wrong}")
        assert_problem(answer, 422, "invalid_request", "path.chat_id")
    for query in ("x=%00", "%00", "=", "%ff=1", "q" * 9_000):
        answer = await chatd.api.http.get(f"/api/v1/chats?{query}")
        assert_problem(answer, 422, "invalid_request", "unknown parameter")
        assert len(answer.content) < 1_000
    for query in ("&&&", "limit=1&limit=2", "status=error&status=waiting"):
        answer = await chatd.api.http.get(f"/api/v1/chats?{query}")
        assert answer.status_code == 200, (query, answer.text)
        assert len(answer.json()["items"]) == 1  # of two equal parameters, the last one counts
    assert_problem(
        await chatd.api.http.get("/api/v1/chats?limit=1&limit=0"), 422, "invalid_request"
    )


CURSORS = [
    "",
    "\x00",
    "x",
    "-1.0.0",
    "1.0",
    "9" * 250,
    "9" * 18 + ".0.0",
    "1.1.1.1",
]


async def test_foreign_stream_cursors_get_a_snapshot(chatd: InProcessDaemon) -> None:
    """The stream starts with a reset and a snapshot, or with what follows a position that exists."""
    chat = await chatd.api.create()
    path = f"/api/v1/chats/{chat['id']}/stream"
    for cursor in CURSORS:
        async with open_stream(chatd, path, params={"after": cursor}) as stream:
            assert stream.status_code == 200, cursor
            first = await anext(stream.aiter_lines())
            expected = {"event: reset"} | ({"event: snapshot"} if not cursor else set())
            assert first in expected, (cursor, first)


@pytest.mark.parametrize(
    "name", [header.name for header in (IDEMPOTENCY_KEY, LAST_EVENT_ID, OWNER)]
)
async def test_duplicate_header_is_refused(chatd: InProcessDaemon, name: str) -> None:
    """A proxy in between may have used the other value."""
    chat = await chatd.api.create()
    method, path = ("GET", "stream") if name == LAST_EVENT_ID.name else ("POST", "interrupt")
    path = f"/api/v1/chats/{chat['id']}/{path}"
    headers = [(name, "local"), (name, "local")]
    answer = await chatd.api.http.request(method, path, headers=headers)
    problem = assert_problem(answer, 422, "invalid_request", "more than once")
    assert problem["errors"][0]["where"] == f"header.{name}"


async def test_head_response_has_no_body(chatd: InProcessDaemon) -> None:
    for path, status in (("/api/v1/chats", 405), ("/nope", 404), ("/openapi.json", 200)):
        answer = await chatd.api.http.head(path)
        assert (answer.status_code, answer.content) == (status, b""), path
        if status >= 400:
            assert answer.headers["content-type"] == PROBLEM_JSON


async def test_trailing_slash_is_not_redirected(chatd: InProcessDaemon) -> None:
    for path in ("/api/v1/chats/", "/livez/", "//evil.example/"):
        answer = await chatd.api.http.get(path)
        assert_problem(answer, 404, "not_found")


@asynccontextmanager
async def raw_connection(
    chatd: InProcessDaemon,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a raw connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", chatd.daemon.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


RAW: Mapping[bytes, bytes] = {
    b"GET /livez HTTP/1.0\r\n\r\n": b"200",
    b"GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n": b"200",
    b"FOO /livez HTTP/1.1\r\nhost: localhost\r\n\r\n": b"400",
    b"GET /livez HTTP/9.9\r\nhost: localhost\r\n\r\n": b"400",
    b"GET /livez?"
    + 65_000 * b"a"
    + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n": b"200",
    b"GET /livez?" + 66_000 * b"a" + b" HTTP/1.1\r\nhost: localhost\r\n\r\n": b"400",
    b"GET /livez\r\n\r\n": b"200",  # HTTP/0.9
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n": b"400",  # TLS
    b"GET /api/v1/chats HTTP/1.1\r\nhost: localhost\r\nx: \x00\r\n\r\n": b"400",
    b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: \xff\r\nconnection: close\r\n\r\n": b"200",
    b"POST /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n": b"400",
    b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n": b"400",
    b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1"
    + b"0" * 30
    + b"\r\n\r\n": b"400",
    b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n": b"413",
    b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n"
    b"\r\n2\r\n{}\r\n0\r\n\r\n": b"400",
    b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}": b"400",
}


@pytest.mark.slow
async def test_malformed_http_gets_a_problem(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for request, status in RAW.items():
            async with raw_connection(chatd) as (reader, writer):
                writer.write(request)
                line = await asyncio.wait_for(reader.readline(), 20)
                assert line.split()[1:2] == [status], (request, line)
                if status == b"400":
                    answer = await asyncio.wait_for(reader.read(), 20)
                    assert PROBLEM_JSON.encode() in answer, request
                    assert b'"code":"bad_request"' in answer, request
        assert (await chatd.api.http.get("/livez")).status_code == 200
    assert not chatd.logged("http.unexpected")


async def test_disconnect_within_the_body_does_no_harm(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        async with raw_connection(chatd) as (_, writer):
            writer.write(
                b"POST /api/v1/chats HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b'content-length: 100\r\n\r\n{"content": "a'
            )
            await writer.drain()
        assert (await chatd.api.http.get("/api/v1/chats")).json()["items"] == []
    assert not chatd.logged("http.unexpected")  # checked once all requests have ended
