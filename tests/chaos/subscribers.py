"""Subscribers whose streams are cut: each resumes from its cursor, on whatever replica answers.

One half is the Python client, which reconnects by itself; the other half reads raw SSE.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import httpx2

from chaos.evidence import is_notice
from chaos.records import Picture
from chatd.client import Client, ClientError, NotFound, Transcript
from chatd.client.events import MessageStored

Parts = Sequence[dict[str, Any]]

_PAUSE_SECONDS = 0.3


def fold(parts: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
    """Add a delta to the parts of a preview. Written apart from the client, as a second opinion."""
    part = parts.setdefault(delta["index"], {})
    for name, value in delta.items():
        if name in {"text", "args"} and name in part:
            part[name] += value
        elif name != "index":
            part[name] = value


def is_prefix(preview: Parts, content: Parts) -> bool:
    """Return whether the joined deltas are what the stored message begins with."""
    for place, part in enumerate(preview):
        if place >= len(content) or part["type"] != content[place]["type"]:
            return False
        for name in ("text", "args"):
            shown, stored = part.get(name, ""), content[place].get(name, "")
            is_last = place == len(preview) - 1
            if not (stored.startswith(shown) if is_last else stored == shown):
                return False
    return True


def version_of(cursor: str | None) -> int:
    """Return the version in a cursor, which is opaque to every client but this one."""
    return int(cursor.split(".")[0]) if cursor else 0


class Subscriber:
    """Subscriber of one chat. ``run`` follows it until it is cancelled or the chat is deleted."""

    kind = ""

    def __init__(self, chat_id: str) -> None:
        self.picture = Picture(subscriber=self.kind, chat_id=chat_id)
        self.cursor: str | None = None

    async def run(self) -> None:
        raise NotImplementedError

    @property
    def version(self) -> int:
        return version_of(self.cursor)

    def has(self, version: int) -> bool:
        """Return whether all events up to a version were received."""
        return self.version >= version

    def finish(self) -> Picture:
        """Return the picture as it is now."""
        self.picture.version = self.version
        return self.picture

    def _check_message(self, message: dict[str, Any], preview: Parts, known: set[int]) -> None:
        """Note what must not be: a message twice, or one that differs from its joined deltas."""
        if message["id"] in known:
            self._note("message twice", message=message["id"])
        if is_notice(message):  # no deltas become one
            return
        if (
            message["role"] == "assistant"
            and message["finish_reason"] != "interrupted"
            and not is_prefix(preview, message["content"])
        ):
            self._note("deltas differ", message=message, preview=list(preview))
        if (
            message["role"] == "assistant"
            and message["finish_reason"] == "interrupted"
            and not is_prefix(preview, message["content"])
            and not is_prefix(message["content"], preview)
        ):
            self._note("interrupted deltas differ", message=message, preview=list(preview))

    def _note(self, name: str, **evidence: Any) -> None:
        self.picture.findings.append((name, {"cursor": self.cursor, **evidence}))


class ClientSubscriber(Subscriber):
    """Subscriber that is the Python client, with its transcript."""

    kind = "python client"

    def __init__(self, chat_id: str, client: Client) -> None:
        super().__init__(chat_id)
        self._client = client
        self._transcript = Transcript()

    async def run(self) -> None:
        """Follow the chat, and read its events as the client does."""
        transcript = self._transcript
        self.picture.connections += 1
        follow = self._client.follow(
            self.picture.chat_id, after=self.cursor, on_reconnect=self._count
        )
        try:
            async with follow as events:
                async for event in events:
                    if isinstance(event, MessageStored):
                        known = {message["id"] for message in transcript.messages}
                        self._check_message(event.data, transcript.preview, known)
                    transcript.apply(event)
                    self.cursor = events.cursor
        except NotFound:
            self.picture.deleted = True
        except ClientError as error:
            self._note("stream refused", error=repr(error), status=getattr(error, "status", None))

    def _count(self, *_: object) -> None:
        self.picture.connections += 1

    def finish(self) -> Picture:
        picture, chat = super().finish(), self._transcript.chat
        picture.deleted |= self._transcript.deleted
        picture.messages = [dict(message) for message in self._transcript.messages]
        picture.preview = [dict(part) for part in self._transcript.preview]
        if chat is not None:
            picture.status, picture.title = chat["status"], chat["title"]
            picture.archived, picture.queue_length = chat["archived"], chat["queue_length"]
        return picture


class RawSubscriber(Subscriber):
    """Subscriber that reads SSE line by line, and does what docs/guides/streaming.md says."""

    kind = "raw SSE"

    def __init__(self, chat_id: str, http: httpx2.AsyncClient) -> None:
        super().__init__(chat_id)
        self._http = http
        self._parts: dict[int, dict[str, Any]] = {}

    async def run(self) -> None:
        """Connect again and again until the chat is deleted."""
        while not self.picture.deleted:
            self.picture.connections += 1
            with suppress(httpx2.RequestError):
                async with aclosing(self._events()) as events:
                    async for name, data, cursor in events:
                        self._apply(name, data)
                        self.cursor = cursor or self.cursor
            await asyncio.sleep(random.uniform(0.2, 1.0) * _PAUSE_SECONDS)

    async def _events(self) -> AsyncIterator[tuple[str, Any, str | None]]:
        headers = {"last-event-id": self.cursor} if self.cursor else {}
        path = f"/api/v1/chats/{self.picture.chat_id}/stream"
        async with self._http.stream("GET", path, headers=headers) as answer:
            if answer.status_code != 200:
                if answer.status_code == 404:
                    self.picture.deleted = True
                elif answer.status_code not in {502, 503, 504}:
                    self._note("stream refused", status=answer.status_code)
                return
            event: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    event[name] = value
                    continue
                if "event" in event:
                    yield event["event"], json.loads(event["data"]), event.get("id")
                event = {}

    def _apply(self, name: str, data: Any) -> None:
        if name in {
            "snapshot",
            "message_part",
            "preview_reset",
            "history_reset",
            "message",
            "compaction",
        }:
            self._apply_content(name, data)
        self._apply_metadata(name, data)

    def _apply_content(self, name: str, data: Any) -> None:
        picture = self.picture
        match name:
            case "snapshot":
                picture.messages = list(data["messages"])
                self._parts = {}
                for delta in data["parts"]:
                    fold(self._parts, delta)
            case "message_part":
                fold(self._parts, data)
            case "preview_reset":
                self._parts = {}
            case "history_reset":
                first = data["from_message_id"]
                picture.messages = [m for m in picture.messages if m["id"] < first]
                self._parts = {}
            case "compaction":
                until = data["compacted_until"]
                for message in picture.messages:
                    message["compacted"] = message["role"] != "system" and message["id"] <= until
            case "message":
                known = {message["id"] for message in picture.messages}
                self._check_message(data, self._preview(), known)
                picture.messages.append(data)
                if data["role"] in {"assistant", "tool"}:
                    self._parts = {}

    def _apply_metadata(self, name: str, data: Any) -> None:
        picture = self.picture
        match name:
            case "snapshot":
                self._describe(data["chat"])
                picture.status = data["chat"]["status"]
                picture.queue_length = data["chat"]["queue_length"]
            case "status":
                picture.status = data["status"]
            case "queue_update":
                picture.queue_length = data["queue_length"]
            case "chat":
                self._describe(data)
            case "deleted":
                picture.deleted = True

    def _describe(self, chat: dict[str, Any]) -> None:
        self.picture.title, self.picture.archived = chat["title"], chat["archived"]

    def _preview(self) -> list[dict[str, Any]]:
        return [self._parts[index] for index in sorted(self._parts)]

    def finish(self) -> Picture:
        picture = super().finish()
        picture.preview = self._preview()
        return picture
