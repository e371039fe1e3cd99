"""Proxy between chatd and PostgreSQL that counts statements and round trips.

A round trip is a ``ReadyForQuery`` of the server, or a ``Flush`` of the client, which waits for answers
without one: so preparing a statement, resetting a session or opening a transaction each cost one too,
whatever library or pool is used. A statement is an ``Execute`` or a simple ``Query`` of a client. Each is
kept under the name of the query, which stands in its first line (``-- leases.claim``).
"""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from chatd.domain.errors import ChatdError

_QUERY_NAME = re.compile(rb"-- (\w+\.\w+)[(\n]")
_CHUNK_BYTES = 65536
_HEADER_BYTES = 5
"""Bytes before a message's body: its type, and its length without the type."""


class StatementCounter:
    """Counter of statements, with the time of each."""

    def __init__(self) -> None:
        self._timestamps: dict[str, list[float]] = {}

    def add(self, name: str) -> None:
        self._timestamps.setdefault(name, []).append(time.monotonic())

    def counts(self) -> Counter[str]:
        return Counter({name: len(moments) for name, moments in self._timestamps.items()})

    def rates(self, seconds: float) -> dict[str, float]:
        """Return the rates per second, the highest first.

        A repeated statement is rated by its interval, since a window of a few seconds holds a varying
        number of polls.
        """
        rates = {}
        for name, moments in self._timestamps.items():
            span = moments[-1] - moments[0]
            steady = len(moments) > 2 and span > seconds / 2  # noqa: PLR2004 - two intervals
            rates[name] = (len(moments) - 1) / span if steady else len(moments) / seconds
        return dict(sorted(rates.items(), key=lambda pair: -pair[1]))

    def reset(self) -> None:
        self._timestamps.clear()


class ProtocolParser:
    """Parser of the messages of one connection."""

    def __init__(self, statements: StatementCounter, round_trips: StatementCounter) -> None:
        self._statements = statements
        self._round_trips = round_trips
        self._startup_seen = False
        self._client_buffer, self._server_buffer = bytearray(), bytearray()
        self._prepared: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        self._current = ""
        self._awaiting_ready: deque[str] = deque()

    def feed_client(self, data: bytes) -> None:
        self._client_buffer += data
        if not self._startup_seen:  # the first message has no type
            length = int.from_bytes(self._client_buffer[:4], "big")
            if len(self._client_buffer) < max(length, 4):
                return
            del self._client_buffer[:length]
            self._startup_seen = True
        for kind, body in _take_messages(self._client_buffer):
            self._handle_client_message(kind, body)

    def feed_server(self, data: bytes) -> None:
        self._server_buffer += data
        for kind, _ in _take_messages(self._server_buffer):
            if kind == b"Z":
                self._round_trips.add(
                    self._awaiting_ready.popleft() if self._awaiting_ready else "(connect)"
                )

    def _handle_client_message(self, kind: bytes, body: bytes) -> None:
        match kind:
            case b"P":
                name, query, _ = body.split(b"\0", 2)
                self._prepared[name] = _query_name(query)
                self._current = f"{self._prepared[name]} (prepare)"
            case b"B":
                portal, name, _ = body.split(b"\0", 2)
                self._portals[portal] = self._prepared.get(name, "(unknown)")
            case b"E":
                self._current = self._portals.get(body.split(b"\0", 1)[0], "(unknown)")
                self._statements.add(self._current)
            case b"Q":
                self._statements.add(_query_name(body))
                self._awaiting_ready.append(_query_name(body))
            case b"H":  # a flush: answers are waited for without a ReadyForQuery
                self._round_trips.add(self._current or "(flush)")
            case b"S":
                self._awaiting_ready.append(self._current or "(sync)")
                self._current = ""


def _take_messages(buffer: bytearray) -> list[tuple[bytes, bytes]]:
    """Remove the complete messages from a buffer and return them."""
    messages, at = [], 0
    while len(buffer) - at >= _HEADER_BYTES:
        end = at + 1 + int.from_bytes(buffer[at + 1 : at + _HEADER_BYTES], "big")
        if len(buffer) < end:
            break
        messages.append((bytes(buffer[at : at + 1]), bytes(buffer[at + _HEADER_BYTES : end])))
        at = end
    del buffer[:at]
    return messages


def _query_name(query: bytes) -> str:
    name = _QUERY_NAME.match(query)
    return (name[1] if name else b" ".join(query.split(b"\0")[0].split())[:40]).decode()


class CountingProxy:
    """Proxy that listens on a Unix socket in ``folder``; ``dsn`` leads through it to the given database."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._server: tuple[str, int] = _parse_address(dsn)
        self._socket = folder / ".s.PGSQL.5432"
        user, _, _ = urlsplit(dsn).netloc.rpartition("@")
        place = f"{quote(str(folder), safe='')}:5432"
        netloc = f"{user}@{place}" if user else place
        self.dsn = urlsplit(dsn)._replace(netloc=netloc, query="").geturl()
        self.statements = StatementCounter()
        self.round_trips = StatementCounter()

    def reset(self) -> None:
        """Reset the counters."""
        self.statements.reset()
        self.round_trips.reset()

    async def __aenter__(self) -> "CountingProxy":
        self._listener = await asyncio.start_unix_server(self._serve, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self._socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._server
        talk = ProtocolParser(self.statements, self.round_trips)
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        await asyncio.gather(
            _pump(reader, upstream[1], talk.feed_client),
            _pump(upstream[0], writer, talk.feed_server),
        )


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_data: Callable[[bytes], None]
) -> None:
    """Forward bytes as they arrive. A failure in one direction closes both."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            on_data(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


def _parse_address(dsn: str) -> tuple[str, int]:
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    if asked.get("sslmode", ["prefer"])[0] not in {"disable", "allow", "prefer"}:
        raise ChatdError("Statements on an encrypted connection cannot be counted (sslmode).")
    place = parts.netloc.rpartition("@")[2]
    host, _, port = place.rpartition(":") if re.search(r":\d+$", place) else (place, "", "")
    host = unquote(host) or asked.get("host", [""])[0]
    if not host:
        raise ChatdError(
            "The address of the database has no host, so that its statements cannot be counted."
        )
    return host.strip("[]"), int(port or asked.get("port", ["5432"])[0])
