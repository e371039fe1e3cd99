"""A wire between a chatd and its PostgreSQL that can go dead without a word, as a lost host does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Wire:
    """Carries bytes both ways. Dead, it carries none, and says nothing: no FIN, no RST, no answer."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._works = asyncio.Event()
        self._works.set()
        self._pumps: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    def die(self) -> None:
        """From now on nothing arrives; what is sent piles up on the way."""
        self._works.clear()

    def heal(self) -> None:
        """Everything that piled up arrives, late; what is new passes."""
        self._works.set()

    def heal_for_new(self) -> None:
        """What is new passes; the connections of before stay dead, as when a firewall forgot them."""
        self._works = asyncio.Event()
        self._works.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        works = self._works
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
        self, works: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                await works.wait()
                writer.write(data)
                await writer.drain()
            await works.wait()
        except ConnectionError:
            await works.wait()
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps[task] = writer
        try:
            await self.carry(reader, writer)
        finally:
            del self._pumps[task]
            writer.transport.abort()

    async def cut(self) -> None:
        """Drop all connections, and wait until nobody carries anything."""
        for task in list(self._pumps):
            task.cancel()
        if self._pumps:
            await asyncio.wait(list(self._pumps))


@asynccontextmanager
async def wired(dsn: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server of ``dsn`` (over TCP), and the address of its near end."""
    place = urlsplit(dsn)
    wire = Wire(place.hostname or "", place.port or 5432)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    near = place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{wire.port}")
    async with server:
        try:
            yield wire, near.geturl()
        finally:
            await wire.cut()
