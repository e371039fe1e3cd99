"""What all streams have in common: how events are written, how a stream goes on, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import anyio
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from chatd.api.auth.stream_sessions import StreamSession
from chatd.api.context import ApiContext
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.stream_events import StreamEventType

KEEP_ALIVE: Final = b": keep-alive\n\n"


class Subscriber(Protocol):
    """A viewer's place, wherever it sits."""

    overflowed: bool
    """Whether it was let go because too much waited for it."""

    @property
    def deleted(self) -> bool:
        """Whether what it viewed is gone."""

    @property
    def closed(self) -> bool:
        """Whether there is nothing more to come: it was let go, or what it viewed is gone."""

    async def wait(self) -> None:
        """Return when there may be something new."""

    def disconnect(self) -> None:
        """The viewer is gone: its stream ends."""


class EventStreamResponse(EventSourceResponse):
    """A response that gives its follower's place back by ``close``, however it ends."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        subscriber: Subscriber,
        context: ApiContext,
        session: StreamSession,
        *,
        close: Callable[[], None],
    ) -> None:
        super().__init__(content, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._subscriber = subscriber
        self._context = context
        self._session = session
        self._close = close
        self._disconnected = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send, until there is no more to send or nobody to send it to.

        The watch for the reader's leaving is a task that ends with this block. Starlette's own way,
        or a task group, would do the same at ten times the cost, once for every stream.
        """
        metrics = self._context.metrics.streams
        metrics.opened.add()
        leaving = asyncio.create_task(self._watch_disconnect(receive))
        try:
            await self.stream_response(send)
        finally:
            metrics.ended.add(self._end_reason())
            self._close()
            leaving.cancel()
            await asyncio.wait([leaving])

    async def _watch_disconnect(self, receive: Receive) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._disconnected = True
        finally:
            self._subscriber.disconnect()

    def _end_reason(self) -> StreamEndReason:
        if self._disconnected:
            return StreamEndReason.CLIENT_DISCONNECTED
        if self._session.ended:
            return StreamEndReason.REVOKED
        if self._subscriber.deleted:
            return StreamEndReason.CHAT_DELETED
        if self._subscriber.overflowed:
            return StreamEndReason.SLOW_CONSUMER
        return StreamEndReason.DRAINING if self._context.hub.draining else StreamEndReason.ABORTED


async def iterate(
    subscriber: Subscriber,
    pull: Callable[[], Awaitable[list[bytes]]],
    *,
    draining: Callable[[], bool],
    keepalive_seconds: float,
) -> AsyncIterator[bytes]:
    """What ``pull`` gives, whenever the follower is woken, until it is over or the process stops."""
    while not subscriber.closed:
        lines = await pull()
        if draining():
            lines.append(encode_event(StreamEventType.DRAINING, {}))
            yield b"".join(lines)
            return
        if lines:
            yield b"".join(lines)
            continue
        with anyio.move_on_after(keepalive_seconds) as silence:
            await subscriber.wait()
        if silence.cancelled_caught:
            yield KEEP_ALIVE


def encode_event(event_type: StreamEventType, data: object, cursor: object = None) -> bytes:
    """An event, with the cursor that follows it."""
    return format_sse_event(
        event=event_type,
        data_str=to_json(data).decode(),
        id=None if cursor is None else str(cursor),
    )
