"""One address in front of chatd processes: balances over those that listen, and cuts connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


class LoadBalancer:
    """Proxy that forwards each connection to the next of ``ports`` that accepts it.

    ``response_byte_limit`` returns, for each connection, after how many bytes of responses it is reset
    (None: never). ``connection_count`` is the number of connections so far.
    """

    def __init__(self, ports: list[int], response_byte_limit: Callable[[], int | None]) -> None:
        self.ports = ports
        self.response_byte_limit = response_byte_limit
        self.connections = 0
        self.url = ""
        self._clients: set[asyncio.StreamWriter] = set()

    def reset_clients(self, choose: Callable[[], bool]) -> int:
        """Reset the connections of clients that ``choose`` picks. Return their number."""
        chosen = [client for client in self._clients if choose()]
        for client in chosen:
            client.transport.abort()
        return len(chosen)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await self._connect()
        if far is not None:
            await self._relay((reader, writer), far)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.ports:
            self.connections += 1
            port = self.ports[self.connections % len(self.ports)]
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    async def _relay(
        self,
        client_side: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server_side: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        pumps = [
            asyncio.create_task(_pump(client_side[0], server_side[1], None)),
            asyncio.create_task(_pump(server_side[0], client_side[1], self.response_byte_limit())),
        ]
        self._clients.add(client_side[1])
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client_side[1])
            server_side[1].transport.abort()  # first, since the steps below may be cancelled
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int | None
) -> None:
    """Copy bytes up to the end of the input, or to ``max_bytes``."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            if max_bytes is not None:
                data, max_bytes = data[:max_bytes], max_bytes - len(data)
            writer.write(data)
            await writer.drain()
            if max_bytes is not None and max_bytes < 0:
                return


@asynccontextmanager
async def load_balancer(
    *ports: int, response_byte_limit: Callable[[], int | None] = lambda: None
) -> AsyncIterator[LoadBalancer]:
    """Start a load balancer in front of these ports of this machine."""
    balancer = LoadBalancer([*ports], response_byte_limit)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(balancer.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also if it never began

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        try:
            yield balancer
        finally:
            for task in tuple(serving):
                task.cancel()
            if serving:
                await asyncio.wait(serving)
