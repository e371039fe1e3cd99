"""Event streams that reconnect.

A stream is a sequence of connections. Each starts after the last complete event of the one before, and
the server sends exactly the events that follow it. So each event is delivered once.
"""

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import anyio
from typing_extensions import override

from chatd.client.backoff import Backoff
from chatd.client.errors import ClientError, ConnectFailed, TooManyRequests
from chatd.client.events import (
    CHAT_EVENTS,
    CHAT_LIST_EVENTS,
    ChatChanged,
    ChatDeleted,
    ChatEvent,
    ChatListEvent,
    ChatListSnapshot,
)
from chatd.client.http import Http
from chatd.client.sse import EventStreamParser, ServerSentEvent
from chatd.client.stream_event import EventTypes, parse_event

E = TypeVar("E")

ReconnectCallback = Callable[[ClientError | None, float], None]
"""Callback before each reconnect, with the error and the wait in seconds.

The error is None if the server ended the stream in order.
"""


_MAX_SEEN_IDS = 256
"""Number of recent event ids kept to drop events that a proxy repeats."""

_RESTARTING_EVENTS = frozenset({"reset", "snapshot"})


class EventStream(Generic[E]):
    """Async iterator over the events of a stream. Use ``async with`` to leave it early.

    ``cursor`` resumes the stream another time, as the argument ``after``. A limit that is reached is waited
    out.

    Raises:
        Unauthorized: The token is no longer valid.
        NotFound: There is no such chat.
        ConnectFailed: No response within the retry timeout.
    """

    event_types: ClassVar[EventTypes]

    def __init__(
        self,
        http: Http,
        path: str,
        *,
        after: str | None = None,
        retry_timeout_seconds: float | None = None,
        on_reconnect: ReconnectCallback | None = None,
    ) -> None:
        self.cursor = after
        self._http = http
        self._path = path
        self._backoff = Backoff(retry_timeout_seconds)
        self._on_reconnect = on_reconnect
        self._events = self._receive()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _receive(self) -> AsyncGenerator[E]:
        while True:
            reason: ClientError | None = None
            received = False
            try:
                async with self._http.stream(self._path, self.cursor) as answer:
                    self._backoff.on_response()
                    parser = EventStreamParser()
                    async for chunk in answer.aiter_bytes():
                        for raw in parser.feed(chunk):
                            if raw.event == "draining" or self._is_duplicate(raw):
                                continue
                            received = True
                            event: E = parse_event(raw, self.event_types)
                            self._update_cursor(raw)
                            if self._is_new(event):
                                yield event
                            if self._is_last(event):
                                return
            except ClientError as error:
                if not error.retryable and not isinstance(error, TooManyRequests):
                    raise
                reason = error
            await self._wait_before_reconnect(reason, received=received)

    def _update_cursor(self, raw: ServerSentEvent) -> None:
        if raw.event in _RESTARTING_EVENTS:
            self.cursor = None
        if raw.id is not None:
            self.cursor = raw.id

    async def _wait_before_reconnect(self, error: ClientError | None, *, received: bool) -> None:
        """Wait until the next attempt, but not if the server ended the stream in order after events."""
        if received:
            self._backoff.on_progress()
        delay = self._backoff.next_delay(error.retry_after if error else None)
        if delay is None:
            raise error or ConnectFailed(self._path, "the stream ends before its first event")
        if received and error is None:
            delay = 0.0
        if self._on_reconnect is not None:
            self._on_reconnect(error, delay)
        await anyio.sleep(delay)

    def _is_duplicate(self, _: ServerSentEvent, /) -> bool:
        return False

    def _is_new(self, _: E, /) -> bool:
        return True

    def _is_last(self, _: E, /) -> bool:
        return False


class ChatEventStream(EventStream[ChatEvent]):
    """Events of one chat, until it is deleted."""

    event_types = CHAT_EVENTS

    def __init__(self, http: Http, path: str, **more: Any) -> None:
        super().__init__(http, path, **more)
        self._seen_ids: deque[str] = deque(maxlen=_MAX_SEEN_IDS)

    @override
    def _is_duplicate(self, raw: ServerSentEvent, /) -> bool:
        """Return whether the event was received before. Ids are unique until a reset or a snapshot."""
        if raw.event in _RESTARTING_EVENTS:
            self._seen_ids.clear()
        if raw.id is None or raw.id in self._seen_ids:
            return raw.id is not None
        self._seen_ids.append(raw.id)
        return False

    @override
    def _is_last(self, event: ChatEvent, /) -> bool:
        return isinstance(event, ChatDeleted)


class ChatListEventStream(EventStream[ChatListEvent]):
    """Events of all chats of the owner. States that are not newer than the last one are dropped."""

    event_types = CHAT_LIST_EVENTS

    def __init__(self, http: Http, path: str, **more: Any) -> None:
        super().__init__(http, path, **more)
        self._versions: dict[str, float] = {}

    @override
    def _is_new(self, event: ChatListEvent, /) -> bool:
        match event:
            case ChatListSnapshot():
                self._versions = {chat["id"]: chat["version"] for chat in event.data["items"]}
            case ChatChanged():
                if event.data["version"] <= self._versions.get(event.data["id"], -1):
                    return False
                self._versions[event.data["id"]] = event.data["version"]
            case ChatDeleted():
                if self._versions.get(event.data["id"]) == math.inf:
                    return False
                self._versions[event.data["id"]] = math.inf
        return True
