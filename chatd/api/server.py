"""The HTTP server as one actor, stopped by asking and never by cancelling."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatd.api.errors import problems
from chatd.api.middleware.connection_drain import ConnectionDrainMiddleware
from chatd.fanout.hub import ChatHub
from chatd.supervision.child import ChildHandle, FatalError

_log = structlog.get_logger()

_FIRST_REQUEST_TIMEOUT_SECONDS = 0.5
"""What a connection that was let in may take to ask something, when the server stops."""
_POLL_INTERVAL_SECONDS = 0.01


_BAD_REQUEST_RESPONSE = problems.problem_response(
    HTTPStatus.BAD_REQUEST,
    "bad_request",
    "This cannot be read: it is not HTTP, or its URL is longer than 65,535 bytes.",
    headers={"connection": "close"},
)


class _Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; what cannot be read as HTTP is answered as a problem too."""

    @override
    def send_400_response(self, msg: str) -> None:
        head = b"".join(b"%s: %s\r\n" % header for header in _BAD_REQUEST_RESPONSE.raw_headers)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\n%s\r\n%s" % (head, _BAD_REQUEST_RESPONSE.body)
        )
        self.transport.close()


class _Uvicorn(uvicorn.Server):
    """A server that leaves the signals of the process alone, and says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: anyio.Event) -> None:
        super().__init__(config)
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def stop_accepting(self) -> None:
        """Leave new connections to others, and hear out who was let in and has not asked yet.

        uvicorn would close those unread, which resets them under the request that is on its way. Some
        never ask, such as a browser that connects ahead, so they are waited for only a moment.
        """
        for server in self.servers:
            server.close()
        with anyio.move_on_after(_FIRST_REQUEST_TIMEOUT_SECONDS):
            while True:
                await anyio.sleep(
                    _POLL_INTERVAL_SECONDS
                )  # first, or who was just let in is not known yet
                if not any(
                    getattr(one, "cycle", None) is None for one in self.server_state.connections
                ):
                    return


class Server:
    """Listens on ``host`` and ``port`` (0: a free one, and the same again after a restart).

    ``inherited_socket`` gives a socket that listens already, if there is one. Asked to stop, it takes requests
    for ``drain_seconds`` more (or until ``end_drain``), each answer closing its connection; then streams
    end, and requests under way have ``stop_timeout_seconds``. New connections of a socket that was handed over
    are left to whoever else has it, at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        hub: ChatHub,
        *,
        host: str,
        port: int,
        inherited_socket: Callable[[], socket.socket | None] = lambda: None,
        keepalive_timeout_seconds: float = 75.0,
        drain_seconds: float = 0.0,
        stop_timeout_seconds: float = 5.0,
    ) -> None:
        self._app = app
        self._hub = hub
        self._host = host
        self.port = port
        self._inherited_socket = inherited_socket
        self._keepalive_timeout_seconds = keepalive_timeout_seconds
        self._drain_seconds = drain_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._drain_ended = anyio.Event()

    def end_drain(self) -> None:
        """Take no more requests than those that are here."""
        self._drain_ended.set()

    async def run(self, child: ChildHandle) -> None:
        handed = self._inherited_socket()
        listener = handed or self._bind()
        self._host, self.port = listener.getsockname()[:2]
        leaving = ConnectionDrainMiddleware(self._app)
        config = uvicorn.Config(
            leaving,
            http=_Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_keep_alive=max(1, round(self._keepalive_timeout_seconds)),
            timeout_graceful_shutdown=max(1, round(self._stop_timeout_seconds)),
        )
        listening = anyio.Event()
        server = _Uvicorn(config, listening)
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve, server, listener, group.cancel_scope)
            await listening.wait()
            _log.info(
                "http.listening", host=self._host, port=self.port, handed_over=handed is not None
            )
            child.ready()
            await child.stopping.wait()
            leaving.draining = True
            if handed is not None:
                await server.stop_accepting()
            with anyio.move_on_after(self._drain_seconds):
                await self._drain_ended.wait()
            await server.stop_accepting()
            self._hub.drain()
            server.should_exit = True

    async def _serve(
        self, server: uvicorn.Server, listener: socket.socket, scope: anyio.CancelScope
    ) -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            listener.close()
        scope.cancel()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # The protocol is named, or asyncio leaves Nagle on: 40 ms for each answer.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host.strip("[]"), self.port))
        except OSError as error:
            listener.close()
            raise FatalError(
                f"http.host, http.port: cannot listen on {self._host} port {self.port}: {error}"
            ) from error
        listener.setblocking(False)
        return listener
