"""Streams as server-sent events: the encoding, and the response that sends them.

An event of a live part costs one formatting of bytes and, with those that were read together, one write to
the socket. An idle stream takes 17 kB. The benchmarks ``parts`` and ``memory`` watch it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final
from uuid import UUID

from fastapi import Request
from fastapi.sse import EventSourceResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from chatd.api.auth.stream_sessions import StreamSession
from chatd.api.connection import Connection
from chatd.api.context import ApiContext
from chatd.api.middleware.exchange import Exchange
from chatd.api.scope import CONNECTION, EXCHANGE, GRANT, IDENTITY
from chatd.domain.chat import Chat
from chatd.domain.cursor import ENCODED_CURSOR, Cursor
from chatd.domain.message import Message
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatListSnapshot, ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.streaming.event_stream import EventStream

KEEP_ALIVE: Final = b": keep-alive\n\n"
_PIECE_BYTES: Final = 64 * 1024
"""Bytes of joined events after which they are sent, as many as a connection buffers."""

_EVENT_LINES: Final[Mapping[StreamEventType, bytes]] = {
    event_type: f"event: {event_type}\n".encode() for event_type in StreamEventType
}
_RESUMABLE_EVENTS: Final[Mapping[StreamEventType, bytes]] = {
    event_type: b"%bdata: %%b\nid: %b\n\n" % (line, ENCODED_CURSOR)
    for event_type, line in _EVENT_LINES.items()
}
"""An event on the wire, of its data and the first three numbers of its cursor."""


async def open_stream(
    stream: EventStream,
    begin: Callable[[str | None], Awaitable[None]],
    *,
    topic: object,
    cursor: str | None,
    request: Request,
    context: ApiContext,
) -> "EventStreamResponse":
    """Return the response that sends ``stream``, after ``begin`` has read what follows ``cursor``.

    The stream counts for the owner that ``request`` acts as, and ends with its grant. ``topic`` is what it
    is about. Whatever fails here is answered as a problem, and leaves no subscription.
    """
    with ExitStack() as stack:
        stack.callback(stream.close)
        scope = request.scope
        session = context.stream_sessions.start(
            scope[GRANT], scope[IDENTITY].owner_id, topic, resumes=cursor is not None
        )
        stack.callback(session.close)
        session.on_end(stream.end)
        await begin(cursor)
        await load_model_names(stream.first_events, context)
        stack.pop_all()
        return EventStreamResponse(stream, session, context)


class EventStreamResponse(EventSourceResponse):
    """Response that sends a stream, and closes it and its session at the end.

    ``body`` is the stream in another spelling than that of the API, with ``headers`` of its own.
    """

    def __init__(
        self,
        stream: EventStream,
        session: StreamSession,
        context: ApiContext,
        *,
        body: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            encode_stream(stream, context) if body is None else body,
            headers={"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})},
        )
        self._stream = stream
        self._session = session
        self._metrics = context.metrics.streams
        self.connection: Connection

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the head, and leave the body to ``RequestPipeline``, which closes it in any case."""
        self._metrics.opened.add()
        exchange: Exchange = scope[EXCHANGE]
        exchange.stream = self
        self.connection = scope[CONNECTION]
        self.connection.on_loss(self._end_with_connection)
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        self.raw_headers = []  # a kilobyte that an idle stream would keep

    async def send_body(self, send: Send) -> None:
        """Send the stream until it ends or the client disconnects."""
        try:
            async for piece in self.body_iterator:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.close()

    def close(self) -> None:
        """End the stream and its session."""
        self.connection.forget(self._end_with_connection)
        self._metrics.ended.add(self._stream.end_reason)
        self._stream.close()
        self._session.close()

    def _end_with_connection(self) -> None:
        self._stream.end(StreamEndReason.CLIENT_DISCONNECTED)


async def encode_stream(stream: EventStream, context: ApiContext) -> AsyncIterator[bytes]:
    """Yield a stream as server-sent events, with comments that keep its connection alive.

    Nothing that was sent is kept while the stream is idle: a snapshot can be large.
    """
    async for events in stream.events(idle_seconds=context.keepalive_seconds):
        if not events:
            yield KEEP_ALIVE
        await load_model_names(events, context)
        for piece in _encode_events(events, context):
            yield piece
            del piece
        del events
    if stream.final_event is not None:
        for piece in _encode_events([stream.final_event], context):
            yield piece


async def load_model_names(events: Sequence[StreamEvent], context: ApiContext) -> None:
    """Load the names of the models in ``events``. A route does so before it answers: it may fail."""
    if model_ids := [*_model_ids(events)]:
        await context.ensure_model_names(*model_ids)


def _encode_events(events: Sequence[StreamEvent], context: ApiContext) -> Iterator[bytes]:
    """Yield events on the wire, small ones joined."""
    pieces: list[bytes] = []
    size = 0
    for event in events:
        event_type, _, cursor, data = event
        if data is None:
            data = to_json(context.present.event(event))
        if type(cursor) is Cursor and not cursor.events_sent:
            # As ``_encode_event`` does, in a tenth of the time.
            piece = _RESUMABLE_EVENTS[event_type] % (data, *cursor[:3])
        else:
            piece = _encode_event(event_type, data, cursor)
        pieces.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def _encode_event(event_type: StreamEventType, data: bytes, cursor: Cursor | str | None) -> bytes:
    """Return an event on the wire. JSON escapes line breaks, so its data are one line."""
    id_line = b"" if cursor is None else f"id: {cursor}\n".encode()
    return b"%bdata: %b\n%b\n" % (_EVENT_LINES[event_type], data, id_line)


def _model_ids(events: Sequence[StreamEvent]) -> Iterator[UUID | None]:
    """Yield the ids of the models that the events name. Those that were encoded already name none."""
    for event in events:
        if event.json is not None:
            continue
        match event.data:
            case Message(model_config_id=model_id) | Chat(last_model_config_id=model_id):
                yield model_id
            case ChatSnapshot(chat, messages, queue):
                yield chat.last_model_config_id
                yield from (message.model_config_id for message in messages)
                yield from (queued_message.model_config_id for queued_message in queue)
            case ChatListSnapshot(chats):
                yield from (chat.last_model_config_id for chat in chats)
