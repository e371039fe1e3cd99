"""Requests as bytes on a connection, and their responses as bytes, without what differs by chance."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from support.eventually import TIMEOUT_SECONDS

_RETURNED_TO_LOOP = 0.01
"""Pause between two pieces of a request, which thus arrive apart."""
_KEEP_ALIVE = b": keep-alive"
_BY_CHANCE = (
    (re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), b"<uuid>"),
    (re.compile(rb"\b[0-9a-f]{32}\b"), b"<hex>"),
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), b"<time>"),
    (re.compile(rb"date: [^\r]*\r\n"), b""),
)


@dataclass(frozen=True, kw_only=True)
class RawRequest:
    """A request to send piece by piece, the first one with the head."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = ()
    body: Sequence[bytes] = ()
    chunked: bool = False
    announced: int | None = None
    """The ``Content-Length``, if it is not that of the body."""
    own: Mapping[str, str] = field(default_factory=dict)
    """Headers that replace the ones that every request here has."""

    def pieces(self) -> list[bytes]:
        headers = {"host": "localhost", "connection": "close"} | self.own
        size = sum(map(len, self.body)) if self.announced is None else self.announced
        if self.chunked:
            headers["transfer-encoding"] = "chunked"
        elif self.body or self.announced is not None:
            headers["content-length"] = str(size)
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in [*headers.items(), *self.headers]]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if not self.chunked:
            return [head + b"".join(self.body[:1]), *self.body[1:]]
        return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.body), b"0\r\n\r\n"]


async def response_bytes(port: int, request: RawRequest) -> bytes:
    """Send a request, and return the response: of a stream up to its first keep-alive."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for number, piece in enumerate(request.pieces()):
                if number:
                    await asyncio.sleep(_RETURNED_TO_LOOP)
                writer.write(piece)
            received = b""
            while _KEEP_ALIVE not in received and (data := await reader.read(65536)):
                received += data
        return received
    finally:
        writer.close()


def without_chance(response: bytes, *names: str) -> bytes:
    """Return a response without ids, times and ``names``, which differ each time, and without chunks."""
    head, _, body = response.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        body = b"".join(_chunks(body)).partition(_KEEP_ALIVE)[0]
    text = head + b"\r\n\r\n" + body
    for name in names:
        text = text.replace(name.encode(), b"<name>")
    for pattern, word in _BY_CHANCE:
        text = pattern.sub(word, text)
    return text


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        yield rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
