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
from chatd.client.errors import ClientError, Unreachable
from chatd.client.events import (
    OF_A_CHAT,
    OF_ALL_CHATS,
    ChatMoved,
    ChatsSnapshot,
    Deleted,
    Event,
    Kinds,
    ListEvent,
    typed,
)
from chatd.client.http import Http
from chatd.client.sse import Parser, ServerSentEvent

E = TypeVar("E")

Gap = Callable[[ClientError | None, float], None]
"""Told of each break: why (None: the server ended the stream in order), and the wait in seconds."""


_REMEMBERED = 256
"""Ids of the latest events, to know one that something on the way tells twice."""

_BEGINNINGS = frozenset({"reset", "snapshot"})


class Following(Generic[E]):
    """The events of a stream: iterate over it, within ``async with`` if you may leave early.

    ``cursor`` is where to go on another time. Iterating raises ``Unauthorized``, ``NotFound`` and
    the like when the server will not have us (any more), and ``Unreachable`` when patience is out.
    """

    kinds: ClassVar[Kinds]

    def __init__(
        self,
        http: Http,
        path: str,
        *,
        after: str | None = None,
        patience_seconds: float | None = None,
        on_gap: Gap | None = None,
    ) -> None:
        self.cursor = after
        self._http = http
        self._path = path
        self._backoff = Backoff(patience_seconds)
        self._on_gap = on_gap
        self._events = self._run()

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

    async def _run(self) -> AsyncGenerator[E]:
        while True:
            why, heard = None, False
            try:
                async with self._http.stream(self._path, self.cursor) as answer:
                    self._backoff.answered()
                    parser = Parser()
                    async for chunk in answer.aiter_bytes():
                        for told in parser.feed(chunk):
                            if told.event == "draining" or self._is_repeated(told):
                                continue
                            heard = True
                            event: E = typed(told, self.kinds)
                            self._advance(told)
                            if self._is_news(event):
                                yield event
                            if self._is_last(event):
                                return
            except ClientError as error:
                if not error.passing:
                    raise
                why = error
            await self._wait(why, heard=heard)

    def _advance(self, told: ServerSentEvent) -> None:
        if told.event in _BEGINNINGS:
            self.cursor = None
        if told.id is not None:
            self.cursor = told.id

    async def _wait(self, why: ClientError | None, *, heard: bool) -> None:
        """Until the next try; none when the server asked to come again, unless it only said so."""
        if heard:
            self._backoff.progressed()
        delay = self._backoff.wait_seconds(why.retry_after if why else None)
        if delay is None:
            raise why or Unreachable(self._path, "the stream ends before it says anything")
        if heard and why is None:
            delay = 0.0
        if self._on_gap is not None:
            self._on_gap(why, delay)
        await anyio.sleep(delay)

    def _is_repeated(self, _: ServerSentEvent, /) -> bool:
        return False

    def _is_news(self, _: E, /) -> bool:
        return True

    def _is_last(self, _: E, /) -> bool:
        return False


class FollowingChat(Following[Event]):
    """What happens in one chat, until it is deleted."""

    kinds = OF_A_CHAT

    def __init__(self, http: Http, path: str, **more: Any) -> None:
        super().__init__(http, path, **more)
        self._told: deque[str] = deque(maxlen=_REMEMBERED)

    @override
    def _is_repeated(self, told: ServerSentEvent, /) -> bool:
        """Each event of a chat has an id of its own; only a new beginning may use old ones again."""
        if told.event in _BEGINNINGS:
            self._told.clear()
        if told.id is None or told.id in self._told:
            return told.id is not None
        self._told.append(told.id)
        return False

    @override
    def _is_last(self, event: Event, /) -> bool:
        return isinstance(event, Deleted)


class FollowingChats(Following[ListEvent]):
    """What happens among all chats: states, of which only those are told that are newer."""

    kinds = OF_ALL_CHATS

    def __init__(self, http: Http, path: str, **more: Any) -> None:
        super().__init__(http, path, **more)
        self._versions: dict[str, float] = {}

    @override
    def _is_news(self, event: ListEvent, /) -> bool:
        match event:
            case ChatsSnapshot():
                self._versions = {chat["id"]: chat["version"] for chat in event.data["items"]}
            case ChatMoved():
                if event.data["version"] <= self._versions.get(event.data["id"], -1):
                    return False
                self._versions[event.data["id"]] = event.data["version"]
            case Deleted():
                if self._versions.get(event.data["id"]) == math.inf:
                    return False
                self._versions[event.data["id"]] = math.inf
        return True
