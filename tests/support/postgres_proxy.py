"""A TCP proxy between chatd and PostgreSQL that cuts, stalls, delays and loses what passes through it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class ProxiedConnection:
    """One connection through the proxy."""

    def __init__(
        self,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
        filter_responses: Callable[[bytes], bytes] | None,
    ) -> None:
        self.sent = bytearray()
        self.filter_responses = filter_responses
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.drops_responses = False
        """True when everything that the server sends is thrown away."""
        self._ends = client, server

    def cut(self) -> None:
        """Break the connection, as seen by both ends."""
        for end in self._ends:
            end.transport.abort()
        self.flowing.set()


class PostgresProxy:
    """Proxy that, when stalled, sends nothing at all: no FIN, no RST."""

    def __init__(self, dsn: str) -> None:
        self._server = urlsplit(dsn)
        self.connections: set[ProxiedConnection] = set()
        self.accepted = 0
        self.refusing = False
        self.stalled = False
        self.delay_seconds = 0.0
        self.on_sent: Callable[[ProxiedConnection, bytes], None] = lambda _connection, _data: None
        self.keeps_sent = True
        """False: what clients send is not kept, so that a proxy may run for hours."""
        self.response_filter: Callable[[], Callable[[bytes], bytes]] | None = None
        """Maker of the filter of what the server sends on one connection, if it is filtered."""
        self.port = 0

    @property
    def dsn(self) -> str:
        """DSN of the database through the proxy."""
        address = f"{self._server.username}:{self._server.password}@127.0.0.1:{self.port}"
        return self._server._replace(netloc=address).geturl()

    def cut(self) -> None:
        """Break all connections."""
        for connection in tuple(self.connections):
            connection.cut()

    def stall(self) -> None:
        """Deliver nothing any more, on new connections either."""
        self.stalled = True
        for connection in self.connections:
            connection.flowing.clear()

    def resume(self, *, forget: bool = False) -> None:
        """Deliver on new connections. What piled up on old ones arrives late, or never (``forget``)."""
        self.stalled = False
        for connection in self.connections:
            if not forget:
                connection.flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(
                self._server.hostname, self._server.port
            )
        except OSError:
            writer.transport.abort()
            return
        connection = ProxiedConnection(
            writer, server_writer, self.response_filter() if self.response_filter else None
        )
        if self.stalled:
            connection.flowing.clear()
        self.connections.add(connection)
        self.accepted += 1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, server_writer, to_server=True))
                group.create_task(self._pump(connection, server_reader, writer, to_server=False))
        finally:
            self.connections.discard(connection)
            connection.cut()

    async def _pump(
        self,
        connection: ProxiedConnection,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        to_server: bool,
    ) -> None:
        try:
            while data := await source.read(65536):
                if to_server:
                    if self.keeps_sent:
                        connection.sent += data
                    self.on_sent(connection, data)
                elif connection.filter_responses is not None:
                    data = connection.filter_responses(data)
                await connection.flowing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if to_server or not connection.drops_responses:
                    sink.write(data)
                    await sink.drain()
            await connection.flowing.wait()
            sink.close()
        except ConnectionError:
            connection.cut()


@asynccontextmanager
async def postgres_proxy(dsn: str) -> AsyncIterator[PostgresProxy]:
    """Run a proxy to the server of ``dsn``."""
    proxy = PostgresProxy(dsn)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield proxy
        finally:
            for task in tuple(serving):
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
