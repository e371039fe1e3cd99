"""The HTTP server as one actor. It is stopped cooperatively and never cancelled."""

import errno
import ipaddress
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp

from chatd.api.http_protocol import ConnectionLimits, limited_protocol
from chatd.api.middleware.admission import Admission
from chatd.fanout.hub import ChatHub
from chatd.supervision.child import ChildHandle, FatalError
from chatd.telemetry.metrics import HttpMetrics

_log = structlog.get_logger()

_FIRST_REQUEST_TIMEOUT_SECONDS = 0.5
"""Time that an accepted connection has to send its first request once the server stops."""
_POLL_INTERVAL_SECONDS = 0.01
_STOP_TIMEOUT_SECONDS = 6
"""Time that uvicorn gives requests under way once the drain is over. Then it drops their connections."""
_LAST_REQUESTS_SECONDS = 3.0
"""Time that requests under way have before they are answered 503. The rest is to end their statements,
within a second, and for a process that has to wait for the processor."""


_DEAD_PEER_MILLISECONDS = 60_000
"""Time after which the kernel closes a connection whose client acknowledges nothing (TCP_USER_TIMEOUT)."""
_RESERVED_DESCRIPTORS = 64
"""File descriptors for everything but connections of clients: the database, providers, files."""
_BACKLOG = 2048
"""Connections that wait to be accepted, as many as uvicorn allows."""
_BIND_FAILURES = {
    errno.EADDRINUSE: "another process has it. Choose another port, or stop that process",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address",
    errno.EACCES: "only root, or a process with CAP_NET_BIND_SERVICE, may use it. Choose a port above 1023",
}


def _bind_failure(error: OSError | UnicodeError) -> str:
    """Return why an address cannot be listened on, and what to do."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return "it is no address, nor the name of one"
    return _BIND_FAILURES.get(error.errno or 0) or error.strerror or str(error)


class _Uvicorn(uvicorn.Server):
    """The server of uvicorn, without signal handlers and with an event for when it listens."""

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
        """Stop listening, and wait a moment for the first request of each accepted connection.

        uvicorn would close such connections unread, which resets them while a request is on its way. Some
        never send one, such as a browser that connects ahead, hence the timeout.
        """
        for server in self.servers:
            server.close()
        with anyio.move_on_after(_FIRST_REQUEST_TIMEOUT_SECONDS):
            while True:
                # First, since the newest connections are not registered yet.
                await anyio.sleep(_POLL_INTERVAL_SECONDS)
                connections = self.server_state.connections
                if all(
                    getattr(connection, "cycle", None) is not None for connection in connections
                ):
                    return


@dataclass(frozen=True, slots=True)
class _Listening:
    """One run of uvicorn on a listening socket."""

    server: _Uvicorn
    is_inherited: bool
    ended: anyio.Event = field(default_factory=anyio.Event)


class Server:
    """The HTTP server on ``host`` and ``port`` (0: a free port, the same again after a restart).

    It is two actors. ``run`` listens from the start of the process to its end, and answers probes.
    ``admit`` opens ``admission`` to requests once everything that they use has started.

    When that is stopped, the server takes requests for ``drain_seconds`` more, or until ``end_drain``, and
    closes the connection after each response. Then streams end, and requests under way have some seconds.
    ``inherited_socket`` returns a socket that is listening already, if there is one. From the begin of the
    drain its new connections are left to the other processes that have it.
    """

    def __init__(
        self,
        app: ASGIApp,
        hub: ChatHub,
        admission: Admission,
        *,
        host: str,
        port: int,
        inherited_socket: Callable[[], socket.socket | None],
        keepalive_timeout_seconds: float,
        drain_seconds: float,
        behind_tls_proxy: bool,
        limits: ConnectionLimits,
        metrics: HttpMetrics,
    ) -> None:
        self._app = app
        self._hub = hub
        self._host = host
        self.port = port
        self._inherited_socket = inherited_socket
        self._keepalive_timeout_seconds = keepalive_timeout_seconds
        self._drain_seconds = drain_seconds
        self._behind_tls_proxy = behind_tls_proxy
        self._limits = _within_descriptors(limits)
        self._metrics = metrics
        self._drain_ended = anyio.Event()
        self._admission = admission
        self._listening: _Listening | None = None

    def end_drain(self) -> None:
        """End the drain early: take no new requests."""
        self._drain_ended.set()

    async def run(self, child: ChildHandle) -> None:
        """Listen until the stop."""
        inherited = self._inherited_socket()
        listener = inherited or self._bind()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MILLISECONDS)
        self._host, self.port = listener.getsockname()[:2]
        started = anyio.Event()
        server = _Uvicorn(self._config(), started)
        listening = _Listening(server, inherited is not None)
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve, listening, listener, group.cancel_scope)
            await started.wait()
            self._listening = listening
            _log.info(
                "http.listening", host=self._host, port=self.port, handed_over=inherited is not None
            )
            if not self._behind_tls_proxy and not _is_loopback(self._host):
                _log.warning("http.without_tls", host=self._host)
            child.ready()
            await child.stopping.wait()
            server.should_exit = True

    async def admit(self, child: ChildHandle) -> None:
        """Serve requests until the stop, and end them then."""
        self._admission.open()
        child.ready()
        await child.stopping.wait()
        if self._listening is not None:
            await self._drain(self._listening)

    async def _drain(self, listening: _Listening) -> None:
        server = listening.server
        self._admission.closes_connections = True
        if listening.is_inherited:
            await server.stop_accepting()
        with anyio.move_on_after(self._drain_seconds):
            await self._drain_ended.wait()
        await server.stop_accepting()
        self._hub.drain()
        server.should_exit = True
        with anyio.move_on_after(_LAST_REQUESTS_SECONDS):
            await listening.ended.wait()
        self._admission.end_requests()
        await listening.ended.wait()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=limited_protocol(self._limits, self._metrics),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing depends on the client's address or scheme
            ws="none",
            timeout_keep_alive=max(1, round(self._keepalive_timeout_seconds)),
            timeout_graceful_shutdown=_STOP_TIMEOUT_SECONDS,
        )

    async def _serve(
        self, listening: _Listening, listener: socket.socket, scope: anyio.CancelScope
    ) -> None:
        try:
            await listening.server.serve(sockets=[listener])
        finally:
            listener.close()
            listening.ended.set()
        if not listening.server.should_exit:  # it ended by itself, which is a failure
            scope.cancel()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named, asyncio turns Nagle off, which would delay each response by 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host.strip("[]"), self.port))
            listener.listen(_BACKLOG)
        except (OSError, UnicodeError) as error:
            listener.close()
            raise FatalError(
                f"http.host, http.port: cannot listen on {self._host} port {self.port}: "
                f"{_bind_failure(error)}"
            ) from error
        listener.setblocking(False)
        return listener


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _within_descriptors(limits: ConnectionLimits) -> ConnectionLimits:
    """Return ``limits`` with no more connections than the process may have open files.

    Beyond that number the kernel would leave connections waiting, those of health checks included.
    """
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        return limits
    available = max(soft_limit - _RESERVED_DESCRIPTORS, 1)
    return replace(limits, max_connections=min(limits.max_connections, available))
