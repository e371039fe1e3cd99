"""One daemon for all tests with the AI SDK's packages, and one Node process for each version."""

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from support.ai_sdk import WEATHER, Gates, NodeChat, NodeClients, ai_sdk_model, node_clients
from support.in_process import InProcessDaemon
from support.npm_packages import AI_SDK_DIR, require_packages
from support.shared_daemon import SharedDaemon, shared_daemon


class _Till(BaseHTTPRequestHandler):
    """A server tool that takes money."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a receipt")

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def till() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Till) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/pay"
        server.shutdown()


@pytest.fixture(scope="module")
def gates() -> Gates:
    return Gates()


@pytest.fixture(scope="module")
def shared(module_dsn: str, gates: Gates, till: str) -> Iterator[SharedDaemon]:
    require_packages(AI_SDK_DIR)
    with shared_daemon(
        module_dsn,
        ai_sdk_model(gates),
        adapters={"enabled": ["ai_sdk"], "tools": [WEATHER]},
        http_tools={
            "pay": {
                "description": "Pay.",
                "url": till,
                "permission": "ask",
                "parameters": {
                    "type": "object",
                    "properties": {"amount": {"type": "integer"}},
                },
            }
        },
    ) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    """Yield the module's daemon, with a client that acts for an owner of this test's own."""
    async with shared.as_new_owner() as daemon:
        yield daemon


@pytest.fixture(scope="module", params=["v5", "v6", "v7"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def clients(shared: SharedDaemon, version: str) -> Iterator[NodeClients]:
    with node_clients(version, shared.url) as clients:
        yield clients


@dataclass
class Tabs:
    """Pages of one user that show the same chat."""

    clients: NodeClients
    chatd: InProcessDaemon
    version: str
    chat: str

    @property
    def path(self) -> str:
        return f"/ai/{self.version}/chat"

    async def open(self, **options: Any) -> NodeChat:
        """Open a page, with messages that it is hydrated with."""
        page = NodeChat(self.clients, f"page-{uuid4().hex[:8]}")
        token = self.chatd.api.http.headers["authorization"].removeprefix("Bearer ")
        await page("new", **{"chat": self.chat, "token": token, **options})
        return page

    async def reload(self, **options: Any) -> NodeChat:
        """Open a page as after a reload: with what chatd has of the chat."""
        return await self.open(messages=await self.messages(), **options)

    async def hydrated(self) -> dict[str, Any]:
        answer = await self.chatd.api.http.get(f"{self.path}/{self.chat}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def messages(self) -> list[dict[str, Any]]:
        return list((await self.hydrated())["messages"])

    async def stop(self) -> None:
        """Press a stop button, which stops the turn at the server."""
        answer = await self.chatd.api.http.post(f"{self.path}/{self.chat}/stop")
        assert answer.json()["success"] is True

    async def stored(self) -> list[dict[str, Any]]:
        """Return the stored messages as the native API has them."""
        answer = await self.chatd.api.http.get(f"/api/v1/chats/{self.chat}/messages")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


@pytest.fixture
def tabs(clients: NodeClients, chatd: InProcessDaemon, version: str) -> Tabs:
    return Tabs(clients, chatd, version, str(uuid4()))
