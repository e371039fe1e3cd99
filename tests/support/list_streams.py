"""Following list streams, and changing the chats that they show."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon
from support.sse_client import SseEvent
from support.streams import stream_events

LIST_STREAM = "/api/v1/chats/stream"

SEED = random.randrange(10**6)

FAST_KEEPALIVE = {"sse_keepalive_seconds": 0.2}


@dataclass
class ListView:
    """The state that the simplest client has of a list."""

    cursor: str | None = None
    chats: dict[str, Any] = field(default_factory=dict)
    event_types: list[str] = field(default_factory=list)
    snapshot_ids: list[str] = field(default_factory=list)
    """The chats of the last snapshot, in its order."""

    def apply(self, event: SseEvent, sent_versions: dict[str, int] | None = None) -> None:
        self.event_types.append(event.event)
        self.cursor = event.id or self.cursor
        match event.event:
            case "snapshot":
                self.chats = {chat["id"]: chat for chat in event.data["items"]}
                self.snapshot_ids = list(self.chats)
            case "chat":
                chat = event.data
                if sent_versions is not None:
                    assert sent_versions.get(chat["id"], 0) < chat["version"], (
                        "twice on one connection"
                    )
                    sent_versions[chat["id"]] = chat["version"]
                if self.chats.get(chat["id"], {"version": 0})["version"] < chat["version"]:
                    self.chats[chat["id"]] = chat
            case "deleted":
                self.chats.pop(event.data["id"], None)


async def read_some(chatd: InProcessDaemon, view: ListView, max_events: int) -> int:
    """Read at most ``max_events`` of one connection, or up to a keep-alive. Return their number."""
    sent_versions: dict[str, int] = {}
    count = 0
    with anyio.fail_after(TIMEOUT_SECONDS):
        async with aclosing(stream_events(chatd, LIST_STREAM, view.cursor)) as events:
            while count < max_events:
                event = await anext(events, None)
                if event is None:
                    break
                view.apply(event, sent_versions)
                count += 1
    return count


@asynccontextmanager
async def following(chatd: InProcessDaemon, view: ListView) -> AsyncIterator["asyncio.Task[None]"]:
    """Follow in the background from the view's cursor. The stream is open when the context is entered."""

    async def follow() -> None:
        async with aclosing(stream_events(chatd, LIST_STREAM, view.cursor)) as events:
            async for event in events:
                if event is not None:
                    view.apply(event)

    before = chatd.daemon.services.list_hub.subscriber_count
    task = asyncio.create_task(follow())
    try:
        await eventually(
            lambda: chatd.daemon.services.list_hub.subscriber_count > before or task.done()
        )
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def stored_chats(chatd: InProcessDaemon, **filters: str) -> dict[str, Any]:
    """Return the chats of the list as they are stored. Archived ones need a filter."""
    found: dict[str, Any] = {}
    params: dict[str, Any] = {"limit": 200, **filters}
    while True:
        page = (await chatd.api.http.get("/api/v1/chats", params=params)).json()
        found |= {chat["id"]: chat for chat in page["items"]}
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def change_chat(chatd: InProcessDaemon, chat_id: str, **fields: Any) -> None:
    """Change fields of a chat through the API."""
    response = await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json=fields)
    assert response.status_code == 200, response.text


async def delete_chat(chatd: InProcessDaemon, chat_id: str) -> None:
    """Delete a chat through the API."""
    response = await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
    assert response.status_code == 204, response.text
