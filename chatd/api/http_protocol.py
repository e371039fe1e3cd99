"""The HTTP protocol of one connection, bounded before the caller is known.

Nothing of a request has been authenticated while its head arrives, so the head has a size and a deadline,
and the body has a deadline too. A process has a maximum number of connections; one more gets a 503.
"""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from typing_extensions import override
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from chatd.api.connection import Connection
from chatd.api.errors import problems
from chatd.api.response_transport import ResponseTransport
from chatd.api.scope import CONNECTION
from chatd.telemetry.metrics import HttpMetrics

_LINGER_SECONDS: Final = 0.5
"""Time between a refusal and the close of its connection. A reset would lose the response of a client
that is still sending."""

_DETAILS: Final = {
    "bad_request": "The request is not valid HTTP, or its URL is longer than 65,535 bytes.",
    "head_too_large": "The head of the request is larger than http.max_head_bytes.",
    "request_timeout": "The request took longer to arrive than http.head_timeout_seconds or "
    "http.body_timeout_seconds.",
    "too_many_connections": "This process has as many connections as it may (http.max_connections).",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds on what a process accepts of clients that it does not know yet."""

    max_connections: int
    max_head_bytes: int
    head_timeout_seconds: float
    """Time from the connection, or from the first byte of a later request, to the end of the head."""
    body_timeout_seconds: float
    """Time from the end of the head to the end of the body."""


class HttpProtocol(HttpToolsProtocol):
    """Protocol of uvicorn with limits, and with problems as its responses to what exceeds them.

    A client of HTTP/1.0 or older knows no chunks, so a body of unknown length ends with its connection.
    """

    limits: ClassVar[ConnectionLimits]
    metrics: ClassVar[HttpMetrics]

    _deadline: asyncio.TimerHandle | None = None
    """Timer of the head or the body that is arriving."""
    _head_bytes = 0
    _in_body = False
    _rejected = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection = Connection(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse("too_many_connections")
        else:
            self._start_deadline(self.limits.head_timeout_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)
        self._connection.lose()

    @override
    def data_received(self, data: bytes) -> None:
        if self._rejected:
            return
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_body:
            self._start_deadline(self.limits.body_timeout_seconds)
        elif self._head_bytes > self.limits.max_head_bytes:
            self._refuse("head_too_large")
        elif self._head_bytes:
            self._start_deadline(self.limits.head_timeout_seconds)

    @override
    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.max_head_bytes:
            self._refuse("head_too_large")
            return
        super().on_headers_complete()
        self._cancel_deadline()
        self._in_body, self._head_bytes = True, 0

    @override
    def on_body(self, body: bytes) -> None:
        if not self._rejected:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._cancel_deadline()
        self._in_body, self._head_bytes = False, 0
        if not self._rejected:
            super().on_message_complete()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        scope = cast("MutableMapping[str, Any]", cycle.scope)
        scope[CONNECTION] = self._connection
        cycle.transport = cast("asyncio.Transport", ResponseTransport(self.transport, self.loop))
        if scope["http_version"] != "1.1":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    @override
    def send_400_response(self, msg: str) -> None:
        if not self._rejected:
            self._refuse("bad_request")

    def _start_deadline(self, seconds: float) -> None:
        if self._deadline is None and not self._rejected:
            self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._in_body or self._head_bytes:
            self._refuse("request_timeout")
        else:  # nothing was asked, so there is nothing to answer
            self._rejected = True
            self.transport.close()

    def _refuse(self, code: str) -> None:
        """Answer with a problem, unless a response is under way, and close the connection."""
        self.metrics.problems.add(code)
        self._rejected = True
        self._cancel_deadline()
        if self.transport.is_closing():
            return
        if self._may_respond():
            response = problems.problem_response(
                code, _DETAILS[code], headers={"connection": "close"}
            )
            head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
            self.transport.write(
                b"%s%s\r\n%s" % (STATUS_LINE[response.status_code], head, response.body)
            )
        self.transport.pause_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _may_respond(self) -> bool:
        """Return whether no response is under way, and keep the application from starting one."""
        if not self._in_body:
            cycle: RequestResponseCycle | None = self.cycle  # None before the first request
            return cycle is None or cycle.response_complete
        if self.pipeline or self.cycle.response_started:
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return True


def limited_protocol(limits: ConnectionLimits, metrics: HttpMetrics) -> type[HttpProtocol]:
    """Return the protocol with these limits, as a class: uvicorn makes one object per connection."""
    return type("LimitedHttpProtocol", (HttpProtocol,), {"limits": limits, "metrics": metrics})


def _without_chunks(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Return ``app`` with responses in which uvicorn sends each piece of a body as it is."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        has_length = False

        async def send_without_chunks(message: ASGISendEvent) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                names = [name.lower() for name, _ in message.get("headers", ())]
                has_length = b"content-length" in names
                cycle.keep_alive = False
                if not has_length:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and not has_length:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_without_chunks)

    return run
