"""Requests to the hot routes, ordinary ones and odd ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatd.domain.access_scope import AccessScope
from support.auth import Bearer
from support.raw_requests import RawRequest

JSON = ("content-type", "application/json")
UNKNOWN = "0" * 8 + "-0000-4000-8000-" + "0" * 12
MAX_BODY_BYTES = 100_000
MAX_PARTS = 3
MAX_QUEUED = 2
ALLOWED_ORIGIN = "https://pages.example"
SECTIONS: dict[str, dict[str, Any]] = {
    "http": {
        "port": 0,
        "max_body_bytes": MAX_BODY_BYTES,
        "cors_origins": [ALLOWED_ORIGIN],
        "sse_keepalive_seconds": 0.1,
    },
    "limits": {"max_content_parts": MAX_PARTS},
    "worker": {"enabled": False, "max_queued_messages": MAX_QUEUED},
}
"""Settings of the daemon that gets the requests."""

STATES: dict[str, Sequence[tuple[str, str, Any]]] = {
    "waiting": (),
    "pending": [("POST", "/messages", {"content": "first"})],
    "archived": [("PATCH", "", {"archived": True})],
    "full queue": [("POST", "/messages", {"content": "first"})] * (MAX_QUEUED + 1),
}
"""Requests that bring a chat into a state: method, path and body."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request, and what is known of it."""

    status: int
    is_hot: bool = False
    method: str = "POST"
    path: str = "/api/v1/chats/{chat_id}/messages"
    headers: Sequence[tuple[str, str]] = (JSON,)
    body: Sequence[bytes] = (b'{"content": "hello"}',)
    chunked: bool = False
    announced: int | None = None
    own: tuple[tuple[str, str], ...] = ()
    state: str = "waiting"
    scopes: frozenset[AccessScope] = frozenset({AccessScope.CHATS})
    has_token: bool = True
    times: int = 1

    def request(self, chat_id: str, owner: str, bearer: Bearer) -> RawRequest:
        token = [*bearer.items()] if self.has_token else []
        fill = {"chat_id": chat_id, "owner": owner, "upper": chat_id.upper()}
        return RawRequest(
            method=self.method,
            path=self.path.format(**fill),
            headers=[*token, *((name, value.format(**fill)) for name, value in self.headers)],
            body=self.body,
            chunked=self.chunked,
            announced=self.announced,
            own=dict(self.own),
        )


def hot(**more: Any) -> Case:
    return Case(**({"status": 202, "is_hot": True} | more))


def stream(query: str = "", **more: Any) -> Case:
    path = "/api/v1/chats/{chat_id}/stream" + query
    return Case(
        **({"status": 200, "method": "GET", "path": path, "headers": (), "body": ()} | more)
    )


def body(value: Any, **more: Any) -> Case:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Case(**({"status": 422, "body": (raw,)} | more))


def new_chat(value: Any, **more: Any) -> Case:
    return body(value, **({"path": "/api/v1/chats", "status": 201, "is_hot": True} | more))


def header(*headers: tuple[str, str], **more: Any) -> Case:
    return Case(**({"status": 202, "is_hot": True, "headers": (JSON, *headers)} | more))


KEY = ("idempotency-key", "a-key")
TEXT = {"type": "text", "text": "hi"}
FILE = {"type": "file", "media_type": "image/png", "data": "aGVsbG8="}
CASES: dict[str, Case] = {
    "message": hot(),
    "to a busy chat": hot(state="pending"),
    "rejected by a busy chat": body(
        {"content": "a", "busy_behavior": "reject"}, state="pending", status=409, is_hot=True
    ),
    "interrupting": body(
        {"content": "a", "busy_behavior": "interrupt"}, state="pending", status=202, is_hot=True
    ),
    "full queue": hot(state="full queue", status=429),
    "archived chat": hot(state="archived", status=409),
    "unknown chat": hot(path=f"/api/v1/chats/{UNKNOWN}/messages", status=404),
    "id in capitals": hot(path="/api/v1/chats/{upper}/messages", is_hot=False),
    "no id": hot(path="/api/v1/chats/x/messages", is_hot=False, status=422),
    "path with more": hot(path="/api/v1/chats/{chat_id}/messages/", is_hot=False, status=404),
    "query": hot(path="/api/v1/chats/{chat_id}/messages?a=b", is_hot=False),
    "parts": body({"content": [TEXT]}, status=202, is_hot=True),
    "file": body({"content": [FILE]}, status=202, is_hot=True),
    "unknown file": body(
        {"content": [{"type": "file", "file_id": UNKNOWN}]}, status=404, is_hot=True
    ),
    "too many parts": body({"content": [TEXT] * (MAX_PARTS + 1)}, is_hot=True),
    "unknown model": body({"content": "a", "model": "none"}, is_hot=True),
    "lone surrogate": body(b'{"content": "\\ud800"}', status=202),
    "zero character": body({"content": "\0"}, status=202, is_hot=True),
    "field twice": body(b'{"content": 1, "content": "b"}', status=202, is_hot=True),
    "byte order mark": body(b'\xef\xbb\xbf{"content": "a"}', status=202),
    "UTF-16": body('{"content": "a"}'.encode("utf-16"), status=202),
    "not UTF-8": body(b'{"content": "\xff"}', status=400),
    "no JSON": body(b"{", status=422),
    "more than JSON": body(b'{"content": "a"} x', status=422),
    "NaN": body(b'{"content": NaN}'),
    "no object": body([]),
    "nothing in it": body({}),
    "null": body(None),
    "unknown field": body({"content": "a", "colour": "red"}),
    "wrong type": body({"content": 5}),
    "white space": body({"content": " "}),
    "wrong behaviour": body({"content": "a", "busy_behavior": "wait"}),
    "no parts": body({"content": []}),
    "many mistakes": body({"content": [{"type": "x"}] * 30}),
    "deep": body(b'{"content": ' + b"[" * 99 + b"]" * 99 + b"}"),
    "no body": hot(body=(), is_hot=False, status=422),
    "empty body": hot(body=(), announced=0, is_hot=False, status=422),
    "body of 70 kB": body({"content": "x" * 70_000}, status=202),
    "body over the limit": body({"content": "x" * MAX_BODY_BYTES}, status=413),
    "announced over the limit": hot(announced=2 * MAX_BODY_BYTES, is_hot=False, status=413),
    "chunked body": hot(chunked=True),
    "chunked over the limit": hot(
        body=(b"x" * 60_000, b"x" * 60_000), chunked=True, is_hot=False, status=413
    ),
    "trickled body": hot(body=(b'{"con', b'tent": "he', b'llo"}')),
    "no content type": header(status=422, is_hot=False, headers=()),
    "text": hot(headers=(("content-type", "text/plain"),), is_hot=False, status=422),
    "charset": hot(headers=(("content-type", "application/json; charset=utf-8"),), is_hot=False),
    "two content types": header(JSON, is_hot=False),
    "json of a kind": hot(headers=(("content-type", "application/a+json"),), is_hot=False),
    "no token": hot(has_token=False, is_hot=False, status=401),
    "invalid token": header(
        ("authorization", "Bearer nobody"), has_token=False, is_hot=False, status=401
    ),
    "two tokens": header(("authorization", "Bearer b"), is_hot=False, status=401),
    "token without the scope": hot(
        scopes=frozenset({AccessScope.METRICS}), is_hot=False, status=403
    ),
    "own name as owner": header(("x-chatd-owner", "{owner}")),
    "another owner": header(("x-chatd-owner", "somebody"), is_hot=False, status=403),
    "two owners": header(
        ("x-chatd-owner", "{owner}"), ("x-chatd-owner", "a"), is_hot=False, status=422
    ),
    "acting for an owner": header(
        ("x-chatd-owner", "{owner}"), scopes=frozenset({AccessScope.CHATS, AccessScope.ACT_FOR})
    ),
    "key": header(KEY),
    "key again": header(KEY, times=2),
    "key again without a chat": header(KEY, state="pending", times=2),
    "key that is none": header(("idempotency-key", "a b"), is_hot=False, status=422),
    "two keys": header(KEY, KEY, is_hot=False, status=422),
    "long key": header(("idempotency-key", "k" * 300), is_hot=False, status=422),
    "request id": header(("x-request-id", "mine-1")),
    "request id that is none": header(("x-request-id", "mine 1")),
    "foreign origin": header(("origin", "https://evil.example"), is_hot=False, status=403),
    "own origin": header(("origin", "http://localhost")),
    "allowed origin": header(("origin", ALLOWED_ORIGIN)),
    "preflight": header(
        ("origin", ALLOWED_ORIGIN),
        ("access-control-request-method", "POST"),
        method="OPTIONS",
        status=200,
        is_hot=False,
    ),
    "other method": hot(method="PUT", is_hot=False, status=405),
    "HEAD of messages": hot(method="HEAD", body=(), is_hot=False, status=405),
    "list of messages": hot(method="GET", body=(), is_hot=False, status=200),
    "new chat": new_chat({}),
    "new chat with a message": new_chat({"content": "hello", "title": "a", "labels": {"a": "b"}}),
    "new chat with a file": new_chat({"content": [FILE]}),
    "new chat with tools": new_chat(
        {"tools": [{"name": "a", "description": "b", "parameters": {"type": "object"}}]}
    ),
    "new chat with a prompt": new_chat({"system_prompt": "Be brief."}),
    "new chat of an unknown model": new_chat({"model": "none"}, status=422),
    "new chat with too many labels": new_chat(
        {"labels": {f"l{number}": "" for number in range(200)}}, status=422
    ),
    "new chat with a file that is none": new_chat(
        {"content": [{"type": "file", "file_id": UNKNOWN}]}, status=404
    ),
    "new chat with an unknown field": new_chat({"colour": "red"}, status=422, is_hot=False),
    "new chat without a body": new_chat(b"", status=422, is_hot=False),
    "new chat, query": new_chat({}, path="/api/v1/chats?a=b", is_hot=False),
    "new chat, path with more": new_chat({}, path="/api/v1/chats/", status=404, is_hot=False),
    "new chat by key": new_chat({}, headers=(JSON, KEY)),
    "new chat by key again": new_chat({}, headers=(JSON, KEY), times=2),
    "new chat without the scope": new_chat(
        {}, scopes=frozenset({AccessScope.METRICS}), status=403, is_hot=False
    ),
    "list of chats": Case(status=200, method="GET", path="/api/v1/chats", headers=(), body=()),
    "stream": stream(is_hot=True),
    "stream of a busy chat": stream(is_hot=True, state="pending"),
    "stream of an archived chat": stream(is_hot=True, state="archived"),
    "stream of an unknown chat": Case(
        method="GET", path=f"/api/v1/chats/{UNKNOWN}/stream", body=(), is_hot=True, status=404
    ),
    "stream after": stream("?after=1.0.0", is_hot=True, state="pending"),
    "stream after a part of an entry": stream("?after=1.0.0~1", is_hot=True, state="pending"),
    "stream after the last": stream("?after=2.0.0", is_hot=True, state="pending"),
    "stream after what was never": stream("?after=99.0.0", is_hot=True),
    "stream after no cursor": stream("?after=abc", is_hot=True),
    "stream after an encoded cursor": stream("?after=1%2E0.0"),
    "stream after nothing": stream("?after="),
    "stream after two": stream("?after=1.0.0&after=2.0.0"),
    "stream after a long one": stream("?after=" + "1" * 300, status=422),
    "stream with an unknown parameter": stream("?before=1", status=422),
    "stream by header": stream(is_hot=True, headers=(("last-event-id", "1.0.0"),), state="pending"),
    "stream by header and query": stream(
        "?after=1.0.0", is_hot=True, headers=(("last-event-id", "2.0.0"),), state="pending"
    ),
    "stream by two headers": stream(
        is_hot=True, headers=(("last-event-id", "1.0.0"),) * 2, status=422
    ),
    "stream by a long header": stream(
        is_hot=True, headers=(("last-event-id", "1" * 2000),), status=422
    ),
    "stream for reading": stream(is_hot=True, scopes=frozenset({AccessScope.READ_ALL})),
    "stream without the scope": stream(scopes=frozenset({AccessScope.METRICS}), status=403),
    "stream without a token": stream(has_token=False, status=401),
    "stream of a page": stream(is_hot=True, headers=(("origin", ALLOWED_ORIGIN),)),
    "HEAD of the stream": stream(method="HEAD", status=405),
    "POST to the stream": stream(method="POST", status=405),
    "stream with a body": stream(is_hot=True, body=(b"x",)),
}  # fmt: skip
"""Requests by what is special of them. ``is_hot``: FastAPI has no part in its answer."""
