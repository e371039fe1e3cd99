"""HTTP server that answers as the OpenAPI document says, with hostile text wherever text may be."""

import asyncio
import json
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from support.openapi_conformance import EVENT_STREAM, SCHEMA_REF_PREFIX, document
from support.requests import PROBLEM_JSON

HIDDEN = {
    "escape": "\x1b",
    "bell": "\x07",
    "backspace": "\x08",
    "carriage return": "\r",
    "delete": "\x7f",
    "control sequence introducer": "\x9b",
    "operating system command": "\x9d",
    "next line": "\x85",
    "override right to left": "\u202e",
    "override left to right": "\u202d",
    "embedding": "\u202a",
    "pop": "\u202c",
    "isolate": "\u2066",
    "pop isolate": "\u2069",
    "mark left to right": "\u200e",
    "mark right to left": "\u200f",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
}
"""Characters that a terminal executes or hides."""

HOSTILE = "".join(f"({character})" for character in HIDDEN.values()) + "\x1b]52;c;aGk=\x07"
"""All of them. The brackets tell them from what a command sends by itself."""
MARK = r"(\x9b)"
"""Part of ``HOSTILE`` as a terminal shows it."""

_KEPT_KEYS = frozenset({"type", "role", "event", "kind", "index"})
_SEQUENCES_OF_OUR_OWN = re.compile(
    r"\x1b\[[0-9;]*m"  # colours
    r"|\x1b\[[0-9;]*[ABCDHJK]"  # cursor, and clearing
    r"|\x1b\[\?(?:1|7|12|25|2004|1049)[hl]"  # cursor, wrapping, pasting, the alternate screen
)


def assert_harmless(raw: str) -> None:
    """Check that a terminal gets no hidden character but those of a command's own sequences."""
    # By themselves, these move the cursor of a live view.
    assert "(\r)" not in raw, raw
    assert "(\x08)" not in raw, raw
    text = _SEQUENCES_OF_OUR_OWN.sub("", raw)
    hidden = [
        text[max(0, n - 30) : n + 10]
        for n, character in enumerate(text)
        if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}
        and character not in "\r\n\t\x08"
    ]
    assert not hidden, hidden[:3]


def hostile(value: Any) -> Any:
    """Return JSON with ``HOSTILE`` in place of each text but ids, times and discriminators."""
    match value:
        case dict():
            return {
                key: inner if key in _KEPT_KEYS else hostile(inner) for key, inner in value.items()
            }
        case list():
            return [hostile(inner) for inner in value]
        case str() if not _is_id_or_time(value):
            return HOSTILE
        case _:
            return value


def _is_id_or_time(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return re.match(r"\d{4}-\d\d-\d\dT", text) is not None
    return True


def _example(name: str) -> Any:
    (example,) = document()["components"]["schemas"][name]["examples"]
    return json.loads(json.dumps(example))


def _response(method: str, path: str) -> tuple[int, str, Any]:
    """Return status, media type and body of the response to a request."""
    if path == "/readyz" or path.endswith("/retry"):
        return 409, PROBLEM_JSON, hostile(_example("Problem"))
    for template, operations in document()["paths"].items():
        if not re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            continue
        ((status, response),) = (
            item for item in operations[method]["responses"].items() if int(item[0]) < 400
        )
        name = response["content"]["application/json"]["schema"]["$ref"]
        body = _example(name.removeprefix(SCHEMA_REF_PREFIX))
        if "matches" in body:
            body["matches"] = {chat["id"]: _example("MessageMatch") for chat in body["items"]}
        body = hostile(body)
        return int(status), "application/json", _with_error(body)
    raise AssertionError(f"no operation: {method} {path}")


def _with_error(body: Any) -> Any:
    """Return a response whose chats have failed, too."""
    for chat in (body, *body.get("items", ())):
        if "last_error" in chat:
            chat["last_error"] = HOSTILE
    return body


def _events(path: str) -> bytes:
    union = "ChatListEvent" if path.endswith("/chats/stream") else "ChatEvent"
    mapping = document()["components"]["schemas"][union]["discriminator"]["mapping"]
    events = []
    for event_type, reference in mapping.items():
        if event_type not in {"deleted", "reset", "draining", "history_reset"}:
            data = hostile(_example(reference.removeprefix(SCHEMA_REF_PREFIX))["data"])
            if event_type == "snapshot" and "chat" in data:
                data["chat"]["last_error"] = HOSTILE
            lines = [f"event: {event_type}", f"data: {json.dumps(data)}", f"id: 9.9.{len(events)}"]
            events.append("\n".join([*lines, "", ""]))
    return "".join(sorted(events, key=lambda event: "event: snapshot" not in event)).encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = request.partition("\r\n")[0].split(" ")
        path = target.partition("?")[0]
        if path.endswith("/stream"):
            head = f"HTTP/1.1 200 OK\r\ncontent-type: {EVENT_STREAM}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + _events(path))
            await reader.read()  # until the client has enough
            return
        status, media_type, body = _response(method.lower(), path)
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} OK\r\ncontent-type: {media_type}\r\ncontent-length: {len(data)}"
        writer.write(f"{head}\r\nconnection: close\r\n\r\n".encode() + data)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        return  # the command has ended
    finally:
        writer.close()


@asynccontextmanager
async def hostile_server() -> AsyncIterator[str]:
    """Run the server. Yield its URL."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
