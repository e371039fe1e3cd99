"""The HTTP server as one actor, stopped by asking and never by cancelling."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp

from chatd.live.hub import Hub
from chatd.supervision.actor import Child, Fatal

_log = structlog.get_logger()


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


class Server:
    """Listens on ``host`` and ``port`` (0: a free one, and the same again after a restart)."""

    def __init__(
        self, app: ASGIApp, hub: Hub, *, host: str, port: int, stop_seconds: float = 5.0
    ) -> None:
        self._app = app
        self._hub = hub
        self._host = host
        self.port = port
        self._stop_seconds = stop_seconds

    async def run(self, child: Child) -> None:
        listener = self._bind()
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=max(1, round(self._stop_seconds)),
        )
        listening = anyio.Event()
        server = _Uvicorn(config, listening)
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve, server, listener, group.cancel_scope)
            await listening.wait()
            _log.info("http.listening", host=self._host, port=self.port)
            child.ready()
            await child.stopping.wait()
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
            raise Fatal(
                f"http.host, http.port: cannot listen on {self._host} port {self.port}: {error}"
            ) from error
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        return listener
