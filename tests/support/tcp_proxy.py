"""A TCP proxy between chatd and PostgreSQL that can stop forwarding silently, as a lost host does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class TcpProxy:
    """Proxy that forwards bytes both ways. When it stops, it sends no FIN, no RST and no answer."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._pumps: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    def blackhole(self) -> None:
        """Stop forwarding. Bytes that are sent from now on are kept."""
        self._forwarding.clear()

    def restore(self) -> None:
        """Forward the bytes that were kept, and all new ones."""
        self._forwarding.set()

    def restore_new_connections(self) -> None:
        """Forward new connections. Earlier ones stay dead, as when a firewall lost their state."""
        self._forwarding = asyncio.Event()
        self._forwarding.set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        works = self._forwarding
        with suppress(asyncio.CancelledError):
            await works.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                writer.transport.abort()
                return
            await asyncio.gather(
                self._pump(works, reader, far_writer), self._pump(works, far_reader, writer)
            )

    async def _pump(
        self, forwarding: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                await forwarding.wait()
                writer.write(data)
                await writer.drain()
            await forwarding.wait()
        except ConnectionError:
            await forwarding.wait()
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps[task] = writer
        try:
            await self.relay(reader, writer)
        finally:
            del self._pumps[task]
            writer.transport.abort()

    async def close_all(self) -> None:
        """Drop all connections, and wait until none is forwarded."""
        for task in list(self._pumps):
            task.cancel()
        if self._pumps:
            await asyncio.wait(list(self._pumps))


@asynccontextmanager
async def tcp_proxy(dsn: str) -> AsyncIterator[tuple[TcpProxy, str]]:
    """Start a proxy to the server of ``dsn`` (over TCP). Yield it and the DSN that leads through it."""
    url = urlsplit(dsn)
    proxy = TcpProxy(url.hostname or "", url.port or 5432)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    proxied_url = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{proxy.port}")
    async with server:
        try:
            yield proxy, proxied_url.geturl()
        finally:
            await proxy.close_all()
