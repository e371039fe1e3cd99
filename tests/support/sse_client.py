"""A client of the HTTP API and its streams, written apart from `chatd.client` as a second opinion."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from support.eventually import TIMEOUT_SECONDS, eventually
from support.http import http_client
from support.openapi_conformance import assert_event_documented
from support.processes import ChatdProcess


@dataclass
class SseEvent:
    """A server-sent event."""

    event: str
    data: Any
    id: str | None


@dataclass
class ChatView:
    """State that the simplest client has of a chat whose stream it follows."""

    events: list[SseEvent] = field(default_factory=list)
    status: str | None = None
    cursor: str | None = None
    preview: str = ""
    messages: dict[int, str] = field(default_factory=dict)

    def apply(self, event: SseEvent) -> None:
        self.events.append(event)
        self.cursor = event.id or self.cursor
        match event.event:
            case "snapshot":
                self.status = event.data["chat"]["status"]
                self.messages = {m["id"]: text_of(m["content"]) for m in event.data["messages"]}
                self.preview = text_of(event.data["parts"])
            case "status":
                self.status = event.data["status"]
            case "message_part":
                self.preview += text_of([event.data])
            case "preview_reset":
                self.preview = ""
            case "history_reset":
                first = event.data["from_message_id"]
                self.messages = {n: text for n, text in self.messages.items() if n < first}
                self.preview = ""
            case "message":
                text = text_of(event.data["content"])
                if event.data["role"] == "assistant":
                    assert text.startswith(self.preview), (self.preview, text)
                    self.preview = ""
                assert event.data["id"] not in self.messages, "the same message twice"
                self.messages[event.data["id"]] = text


def text_of(parts: list[dict[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts if part["type"] == "text")


class ApiClient:
    """Client of the API."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def create(self, content: str | None = None, **more: Any) -> dict[str, Any]:
        body = ({"content": content} if content is not None else {}) | more
        answer = await self.http.post("/api/v1/chats", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def send(self, chat_id: str, content: str, **more: Any) -> dict[str, Any]:
        answer = await self.http.post(
            f"/api/v1/chats/{chat_id}/messages", json={"content": content} | more
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def submit_tool_results(self, chat_id: str, results: dict[str, Any]) -> dict[str, Any]:
        """Submit the results of tools, by the ids of their calls."""
        answer = await self.http.post(
            f"/api/v1/chats/{chat_id}/tool-results",
            json={"results": [{"tool_call_id": k, "result": v} for k, v in results.items()]},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def edit(self, chat_id: str, message_id: int, content: str) -> dict[str, Any]:
        answer = await self.http.patch(
            f"/api/v1/chats/{chat_id}/messages/{message_id}", json={"content": content}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def interrupt(self, chat_id: str) -> dict[str, Any]:
        answer = await self.http.post(f"/api/v1/chats/{chat_id}/interrupt")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def chat(self, chat_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/chats/{chat_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def messages(self, chat_id: str) -> list[dict[str, Any]]:
        """Return all messages, page by page: a page ends by its bytes, too."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": 200}
        while True:
            answer = await self.http.get(f"/api/v1/chats/{chat_id}/messages", params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            params["after_id"] = page["next_cursor"]

    async def texts(self, chat_id: str, role: str = "assistant") -> list[str]:
        return [text_of(m["content"]) for m in await self.messages(chat_id) if m["role"] == role]

    async def wait_for_status(
        self, chat_id: str, status: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Wait for a status. Return the chat."""

        async def reached() -> dict[str, Any] | None:
            chat = await self.chat(chat_id)
            return chat if chat["status"] == status else None

        return dict(await eventually(reached, timeout_seconds, interval_seconds=0.05))

    async def stream(self, chat_id: str, after: str | None = None) -> AsyncIterator[SseEvent]:
        """Yield the events of one connection, until it ends."""
        headers = {"last-event-id": after} if after else {}
        path = f"/api/v1/chats/{chat_id}/stream"
        async with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            event: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name:
                    event[name] = value
                elif "event" in event:
                    heard = SseEvent(event["event"], json.loads(event["data"]), event.get("id"))
                    assert_event_documented(answer.request, heard.event, heard.data, heard.id)
                    yield heard
                    event = {}
                else:
                    event = {}

    async def follow(
        self,
        chat_id: str,
        view: ChatView,
        until: Callable[[ChatView], bool],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> ChatView:
        """Apply events to ``view``, from its cursor on, until ``until`` holds or the stream ends."""
        events = self.stream(chat_id, view.cursor)
        try:
            with anyio.fail_after(timeout_seconds):
                async for event in events:
                    view.apply(event)
                    if until(view):
                        break
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        return view


@asynccontextmanager
async def client(chatd: ChatdProcess) -> AsyncIterator[ApiClient]:
    """Yield a client of one process."""
    async with http_client(chatd.url) as http:
        yield ApiClient(http)


@asynccontextmanager
async def clients(processes: Sequence[ChatdProcess]) -> AsyncIterator[dict[str, ApiClient]]:
    """Open a client of each process. Yield them by the name of the process."""
    async with AsyncExitStack() as stack:
        yield {
            process.name: await stack.enter_async_context(client(process)) for process in processes
        }
