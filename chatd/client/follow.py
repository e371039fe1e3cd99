"""Streams that go on over cut wires, killed servers and deploys.

A stream is a row of connections. Each begins where the one before ended, at the id of the last whole
event; the server tells the rest and nothing else, so what is handed out is told exactly once.
"""

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import anyio
from typing_extensions import override

from chatd.client.backoff import Backoff
from chatd.client.errors import ClientError, ConnectFailed
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
"""Told of each break: why (None: the server ended the stream in order), and the wait in seconds."""


_MAX_SEEN_IDS = 256
"""Ids of the latest events, to know one that something on the way tells twice."""

_RESTARTING_EVENTS = frozenset({"reset", "snapshot"})


class EventStream(Generic[E]):
    """The events of a stream: iterate over it, within ``async with`` if you may leave early.

    ``cursor`` is where to go on another time. Iterating raises ``Unauthorized``, ``NotFound`` and
    the like when the server will not have us (any more), and ``ConnectFailed`` when patience is out.
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
        """Hang up."""
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
            why, heard = None, False
            try:
                async with self._http.stream(self._path, self.cursor) as answer:
                    self._backoff.on_response()
                    parser = EventStreamParser()
                    async for chunk in answer.aiter_bytes():
                        for told in parser.feed(chunk):
                            if told.event == "draining" or self._is_duplicate(told):
                                continue
                            heard = True
                            event: E = parse_event(told, self.event_types)
                            self._update_cursor(told)
                            if self._is_new(event):
                                yield event
                            if self._is_last(event):
                                return
            except ClientError as error:
                if not error.retryable:
                    raise
                why = error
            await self._wait_before_reconnect(why, received=heard)

    def _update_cursor(self, raw: ServerSentEvent) -> None:
        if raw.event in _RESTARTING_EVENTS:
            self.cursor = None
        if raw.id is not None:
            self.cursor = raw.id

    async def _wait_before_reconnect(self, error: ClientError | None, *, received: bool) -> None:
        """Until the next try; none when the server asked to come again, unless it only said so."""
        if received:
            self._backoff.on_progress()
        delay = self._backoff.next_delay(error.retry_after if error else None)
        if delay is None:
            raise error or ConnectFailed(self._path, "the stream ends before it says anything")
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
    """What happens in one chat, until it is deleted."""

    event_types = CHAT_EVENTS

    def __init__(self, http: Http, path: str, **more: Any) -> None:
        super().__init__(http, path, **more)
        self._seen_ids: deque[str] = deque(maxlen=_MAX_SEEN_IDS)

    @override
    def _is_duplicate(self, raw: ServerSentEvent, /) -> bool:
        """Each event of a chat has an id of its own; only a new beginning may use old ones again."""
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
    """What happens among all chats: states, of which only those are told that are newer."""

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
