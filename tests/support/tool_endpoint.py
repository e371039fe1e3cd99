"""HTTP endpoint of tools: it records the requests, and answers them as a test says."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ToolCallRequest:
    """A request that the endpoint got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    write: Callable[[bytes], None]
    """Function that sends bytes before those that the answer returns."""
    connection: socket.socket
    """The connection, which can be asked for its state until the answer, also when the caller closed it."""

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[ToolCallRequest], Awaitable[bytes]]


def response(body: bytes | str, *, status: int = 200, headers: str = "") -> bytes:
    """Return the bytes of a response."""
    content = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


@dataclass
class ToolEndpoint:
    """The endpoint, and what it was asked. ``closed`` counts the connections that the caller closed."""

    url: str = ""
    requests: list[ToolCallRequest] = field(default_factory=list)
    closed: int = 0
    answer: Answer | None = None
    closes: bool = False
    """Each connection is closed after one response."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def keys(self) -> list[str]:
        return [request.key for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")[:-2]
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = first.split(" ")
                request = ToolCallRequest(method, target, headers, body, writer.write, connection)
                self.requests.append(request)
                self.arrived.set()
                answering = asyncio.ensure_future((self.answer or _done)(request))
                closing = asyncio.ensure_future(reader.read(1))
                done, _ = await asyncio.wait(
                    [answering, closing], return_when=asyncio.FIRST_COMPLETED
                )
                closing.cancel()
                await asyncio.wait([closing])
                if answering not in done:
                    answering.cancel()
                    await asyncio.wait([answering])
                    self.closed += 1
                    return
                writer.write(answering.result())
                await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            connection.close()


async def _done(request: ToolCallRequest) -> bytes:
    return response(f"done {request.target}")


@asynccontextmanager
async def tool_endpoint(
    answer: Answer | None = None, *, closes: bool = False
) -> AsyncIterator[ToolEndpoint]:
    """Run an endpoint on a free port."""
    endpoint = ToolEndpoint(answer=answer, closes=closes)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        endpoint.url = f"http://127.0.0.1:{port}"
        yield endpoint
    finally:
        server.close()


def tools(endpoint: ToolEndpoint, **more: Any) -> dict[str, Any]:
    """Return the settings of two tools: ``pay`` runs at most once, ``look`` is idempotent."""
    note = {"type": "object", "properties": {"note": {"type": "string"}}}
    return {
        "http_tools": {
            "pay": {"description": "Pay.", "url": f"{endpoint.url}/pay", "parameters": note},
            "look": {
                "description": "Look.",
                "url": f"{endpoint.url}/look",
                "parameters": note,
                "policy": "idempotent",
            },
        },
        **more,
    }
