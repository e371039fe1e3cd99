"""MCP servers over HTTP: one of the SDK's, and one whose every answer a test chooses."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import socket
from typing import Any
from urllib.parse import parse_qsl

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from chatd.tools.mcp.config import HttpEndpoint
from chatd.tools.mcp.server import McpServer
from support.eventually import eventually
from support.mcp_servers import config, running


def sdk_server() -> MCPServer:
    """Return a server of the SDK with one tool."""
    server = MCPServer("http")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def count(to: int, context: Context) -> str:  # type: ignore[type-arg]
        """Count, and report each number."""
        for number in range(1, to + 1):
            await context.report_progress(number, to, f"at {number}")
        return "counted"

    return server


@asynccontextmanager
async def served(server: MCPServer, **options: Any) -> AsyncIterator[str]:
    """Serve a server of the SDK, and yield its address."""
    app = server.streamable_http_app(**options)
    uvicorn_server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
    )
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with anyio.create_task_group() as group:
            group.start_soon(uvicorn_server._serve, [listener])
            await eventually(lambda: uvicorn_server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            uvicorn_server.should_exit = True


@dataclass
class Request:
    """A request that arrived: its headers in lower case, and its message, or the fields of a form."""

    method: str
    target: str
    headers: dict[str, str]
    message: dict[str, Any]


@dataclass
class ChosenAnswers:
    """Server that answers ``initialize`` and ``tools/list`` well, and all else as ``answer`` says."""

    answer: Callable[[Request], bytes | None]
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    unanswered: int = 0
    """Requests without an answer whose client waits."""

    def messages(self, method: str) -> list[dict[str, Any]]:
        """Return the messages of one method."""
        return [r.message for r in self.requests if r.message.get("method") == method]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            form = "form" in headers.get("content-type", "")
            message = dict(parse_qsl(body.decode())) if form else json.loads(body or b"{}")
            request = Request(*head[0].split()[:2], headers, message)
            self.requests.append(request)
            if (answer := self.answer(request)) is None:
                self.unanswered += 1
                await reader.read()  # until the client gives up
                self.unanswered -= 1
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def ordinary(request: Request) -> bytes:
    """Answer as a server with one tool, ``t``, does."""
    match request.message.get("method"):
        case "initialize":
            return reply(
                request,
                {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "chosen", "version": "1"},
                },
            )
        case "tools/list":
            return reply(request, {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})
        case "tools/call":
            return reply(request, {"content": [{"type": "text", "text": "done"}]})
        case "server/discover":
            return response(404, b"")
        case _:
            return response(202 if request.method == "POST" else 405, b"")


def reply(request: Request, result: dict[str, Any]) -> bytes:
    """Return the response that carries a result."""
    body = {"jsonrpc": "2.0", "id": request.message["id"], "result": result}
    return response(200, json.dumps(body).encode())


def response(
    status: int, body: bytes, *, media_type: str = "application/json", headers: str = ""
) -> bytes:
    """Return a response, after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\n{headers}Connection: close\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def chosen_answers(answer: Callable[[Request], bytes | None]) -> AsyncIterator[ChosenAnswers]:
    """Run a server that answers as a test chooses."""
    server = ChosenAnswers(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp"
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def running_at(url: str, **values: Any) -> AsyncIterator[McpServer]:
    """Run the actor of the server at an address."""
    headers, credentials = values.pop("headers", {}), values.pop("credentials", None)
    endpoint = HttpEndpoint(url=url, headers=headers, credentials=credentials)
    async with running(McpServer(config(endpoint, **values))) as server:
        yield server
