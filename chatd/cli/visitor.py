"""Somebody who uses the API: asks, follows the stream, and shows what was stored."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

import httpx2

Say = Callable[[str], None]


class Visitor:
    """A caller of one chatd."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=f"{url}/api/v1", timeout=None)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def ask(self, prompt: str, *, say: Say) -> bool:
        """Create a chat, print its answer as it comes, then the chat as it is stored."""
        answer = await self._http.post("/chats", json={"content": prompt, "title": "Demo"})
        answer.raise_for_status()
        chat_id = answer.json()["id"]
        say(f"POST /api/v1/chats -> {answer.status_code}, chat {chat_id}")
        say(f"GET /api/v1/chats/{chat_id}/stream")
        say(f"\n> {prompt}\n")
        await self._follow(chat_id)
        print(flush=True)
        return await self._show(chat_id, say)

    async def _follow(self, chat_id: str) -> None:
        """Print the parts of the answer until the chat rests."""
        shown = False
        async for event, data in self._events(f"/chats/{chat_id}/stream"):
            match event:
                case "snapshot":
                    print(_text(data["parts"]), end="", flush=True)
                    shown = bool(data["parts"])
                    status = data["chat"]["status"]
                    if status in _AT_REST:
                        print(_text(data["messages"][-1]["content"]), end="", flush=True)
                        return
                case "message_part":
                    print(data.get("text", ""), end="", flush=True)
                    shown = True
                case "message" if data["role"] == "assistant" and not shown:
                    print(_text(data["content"]), end="", flush=True)
                case "preview_reset":
                    print("\n[starting over]\n", file=sys.stderr, flush=True)
                case "status" if data["status"] in _AT_REST:
                    return

    async def _show(self, chat_id: str, say: Say) -> bool:
        chat = (await self._http.get(f"/chats/{chat_id}")).json()
        messages = (await self._http.get(f"/chats/{chat_id}/messages")).json()["items"]
        journal = (await self._http.get(f"/chats/{chat_id}/events")).json()["items"]
        say(f"\nstored: chat {chat_id}")
        for name in ("title", "model", "status", "last_error", "version"):
            say(f"  {name:<11} {json.dumps(chat[name])}")
        usage = chat["usage"]
        say(f"  {'usage':<11} {usage['input_tokens']} tokens in, {usage['output_tokens']} out")
        for message in messages:
            say(f"  message {message['id']}   {message['role']}: {_text(message['content'])!r}")
        moves = " -> ".join(f"{entry['move']} ({entry['status']})" for entry in journal)
        say(f"  {'journal':<11} {moves}")
        return bool(chat["status"] == "waiting")

    async def _events(self, path: str) -> AsyncIterator[tuple[str, Any]]:
        async with self._http.stream("GET", path) as answer:
            answer.raise_for_status()
            event = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)


_AT_REST = {"waiting", "error", "requires_action"}


def _text(parts: list[dict[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts if part["type"] == "text")
