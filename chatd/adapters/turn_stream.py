"""Streams of one turn: opened with the transition that begins it, sent in a dialect's spelling."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing, suppress
from typing import Final
from uuid import UUID

import anyio
from fastapi import Request
from starlette.types import Send

from chatd.adapters.operations import ChatOperations
from chatd.adapters.turn_item_reader import Turn, TurnItemReader
from chatd.adapters.turn_items import PartDelta, TurnItem
from chatd.api.auth.stream_sessions import StreamSession
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import CONNECTION, EXCHANGE, GRANT, IDENTITY
from chatd.api.sse import KEEP_ALIVE, EventStreamResponse, load_model_names
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatdError
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent
from chatd.streaming.chat_stream import ChatStream, subscribe_to_chat

_PAGE_SIZE: Final = 100
"""Messages of a long turn that are read at once."""
_FINISH_SECONDS: Final = 5.0
"""Time for the transition that the end of a stream causes."""


class StreamCut(Exception):
    """The stream ended before the turn did. The client comes back for the rest."""

    def __init__(self, reason: StreamEndReason) -> None:
        super().__init__(reason)
        self.reason = reason


class TurnStream:
    """The items of a turn for one client, of an open ``stream``.

    It is closed by its response, by ``collect``, or by ``close``.
    """

    def __init__(
        self,
        stream: ChatStream,
        session: StreamSession,
        operations: ChatOperations,
        chat_id: UUID,
        turn: Turn,
        *,
        first_step: int,
        leaving_stops: bool,
        deletes_chat: bool,
        follows_queue: bool,
    ) -> None:
        self.stream = stream
        self.session = session
        self.operations = operations
        self.chat_id = chat_id
        self._reader = TurnItemReader(turn)
        self._first_step = first_step
        self._leaving_stops = leaving_stops
        self._deletes_chat = deletes_chat
        self._follows_queue = follows_queue
        snapshot = _snapshot(stream.first_events)
        self.version = snapshot.chat.version if snapshot else turn.begun_at or 0
        """The version of the chat that the stream begins with."""
        self._items = self._read_items()

    def items(self) -> AsyncIterator[Sequence[TurnItem]]:
        """Yield items in batches, until one ends the stream. An empty batch: nothing came for a while.

        A caller that stops and calls it again gets the items that follow. Raises ``StreamCut`` where the
        turn goes on without this stream.
        """
        return self._items

    async def _read_items(self) -> AsyncIterator[Sequence[TurnItem]]:
        context = self.operations.context
        idle_seconds, sent_at = context.keepalive_seconds, anyio.current_time()
        async for items in self._before_snapshot():
            yield items
        async with aclosing(self.stream.events(idle_seconds=idle_seconds)) as batches:
            async for events in batches:
                await load_model_names(events, context)
                items = self._read(events)
                # Events of another turn are none of the client's, but it must not count as idle.
                if items or not events or anyio.current_time() - sent_at > idle_seconds:
                    sent_at = anyio.current_time()
                    yield items
                if self._reader.ended:
                    self.stream.end(StreamEndReason.TURN_ENDED)
                    return
        reason = self.stream.end_reason
        if reason is not StreamEndReason.CHAT_DELETED or self.stream.final_event is None:
            raise StreamCut(reason)
        yield self._read([self.stream.final_event])

    async def collect(self, request: Request) -> Sequence[TurnItem]:
        """Return all items, and close the stream. The request counts for its owner no more meanwhile.

        Raises ``HttpProblem`` (503) when the stream is cut: a repetition finds the turn again.
        """
        request.scope[EXCHANGE].release_slots()
        metrics = self.operations.context.metrics.streams
        metrics.opened.add()
        connection = request.scope[CONNECTION]
        connection.on_loss(self.disconnect)
        try:
            return [item async for items in self.items() for item in items]
        except StreamCut:
            raise HttpProblem("not_ready", "This process stops; try again.") from None
        finally:
            connection.forget(self.disconnect)
            metrics.ended.add(self.stream.end_reason)
            self.close()
            await self.finish()

    def disconnect(self) -> None:
        """End the stream, since its client is not there any more."""
        self.stream.end(StreamEndReason.CLIENT_DISCONNECTED)

    async def finish(self) -> None:
        """Do what the end of the stream causes: stop the turn of a client that left, or delete the chat."""
        left = self.stream.end_reason is StreamEndReason.CLIENT_DISCONNECTED
        if not (self._deletes_chat or (self._leaving_stops and left)):
            return
        # If it fails, the turn goes on, as it would without the client, and a chat that expires is deleted.
        with anyio.move_on_after(_FINISH_SECONDS, shield=True), suppress(ChatdError):
            turn = self._reader.turn
            if self._deletes_chat:
                await self.operations.delete(self.chat_id)
            elif turn.message_id is None and turn.queued_id is not None:
                await self.operations.remove_queued(self.chat_id, turn.queued_id)
            else:
                await self.operations.interrupt(self.chat_id)

    def close(self) -> None:
        """Close the stream without sending it."""
        self.stream.close()
        self.session.close()

    async def _before_snapshot(self) -> AsyncIterator[Sequence[TurnItem]]:
        """Yield the items of messages that are older than a snapshot holds, one page at a time."""
        snapshot = _snapshot(self.stream.first_events)
        message_id = self._reader.turn.message_id
        if snapshot is None or not snapshot.messages or message_id is None:
            return
        first = min(message.id for message in snapshot.messages)
        after_id = message_id - 1
        while after_id + 1 < first:
            page = await self.operations.context.store.reads.messages_after(
                self.chat_id, after_id, limit=_PAGE_SIZE
            )
            older = [message for message in page.items if message.id < first]
            items = [item for message in older for item in self._reader.read_message(message)]
            if items:
                yield self._wanted(items)
            if not page.has_more or len(older) < len(page.items):
                return
            after_id = page.items[-1].id

    def _read(self, events: Iterable[StreamEvent]) -> Sequence[TurnItem]:
        items: list[TurnItem] = []
        for event in events:
            items += self._reader.read_event(event)
            while self._follows_queue and (following := self._reader.next_message) is not None:
                self._reader = TurnItemReader(Turn(message_id=following.id))
                items += self._reader.read_event(event)
        items = _joined(items)
        return self._wanted(items) if self._first_step else items

    def _wanted(self, items: Sequence[TurnItem]) -> Sequence[TurnItem]:
        first = self._first_step
        return [item for item in items if getattr(item, "step", first) >= first]


def _joined(items: Sequence[TurnItem]) -> list[TurnItem]:
    """Return items with texts of one part that were read together as one."""
    joined: list[TurnItem] = []
    texts: list[str] = []
    for place, item in enumerate(items, 1):
        if type(item) is PartDelta:
            texts.append(item.text)
            following = items[place] if place < len(items) else None
            if type(following) is PartDelta and following.index == item.index:
                continue
            joined.append(PartDelta(item.step, item.index, "".join(texts)))
            texts = []
        else:
            joined.append(item)
    return joined


def _snapshot(events: Sequence[StreamEvent]) -> ChatSnapshot | None:
    """Return the snapshot with which a stream begins. None: it begins with the turn itself."""
    return next((event.data for event in events if isinstance(event.data, ChatSnapshot)), None)


async def open_turn_stream(
    request: Request,
    operations: ChatOperations,
    chat_id: UUID,
    transition: Callable[[], Awaitable[Turn]],
    *,
    first_step: int = 0,
    leaving_stops: bool = False,
    deletes_chat: bool = False,
    follows_queue: bool = False,
    resumes: bool = False,
) -> TurnStream:
    """Subscribe to a chat, make a ``transition`` of it, and return the stream of the turn that it returns.

    Steps before ``first_step`` are left out: their client has them. With ``leaving_stops`` the turn is
    interrupted when its client leaves. With ``deletes_chat`` the chat is deleted when the stream ends,
    however that is. With ``follows_queue`` the turns of queued messages follow. One that ``resumes`` may
    replace an older one of the chat at the limit of streams.
    Raises ``HttpProblem`` (429) before anything is done, and what ``transition`` raises.
    """
    context, scope = operations.context, request.scope
    with ExitStack() as stack:
        stream = subscribe_to_chat(context.hub, context.store.stream_reads, chat_id)
        stack.callback(stream.close)
        session = context.stream_sessions.start(
            scope[GRANT], scope[IDENTITY].owner_id, chat_id, resumes=resumes
        )
        stack.callback(session.close)
        session.on_end(stream.end)
        turn = await transition()
        # A turn that has just begun is followed from there: mostly, that reads nothing.
        cursor = None if turn.begun_at is None else str(Cursor(turn.begun_at - 1))
        await stream.open(cursor, owner_id=operations.caller.owner_id, since=turn.since)
        await load_model_names(stream.first_events, context)
        stack.pop_all()
        return TurnStream(
            stream,
            session,
            operations,
            chat_id,
            turn,
            first_step=first_step,
            leaving_stops=leaving_stops,
            deletes_chat=deletes_chat,
            follows_queue=follows_queue,
        )


class TurnStreamResponse(EventStreamResponse):
    """Response that sends a stream as ``spell`` says.

    ``begin`` comes first, and ``end`` last unless the stream was cut: then the connection is closed in
    the middle, since a clean end would pass for the end of the answer.
    """

    def __init__(
        self,
        stream: TurnStream,
        spell: Callable[[TurnItem], bytes],
        *,
        begin: bytes = b"",
        end: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            stream.stream,
            stream.session,
            stream.operations.context,
            body=_spelled(stream, spell, begin=begin, end=end),
            headers=headers,
        )
        self._turn_stream = stream

    async def send_body(self, send: Send) -> None:
        """Send the stream until the turn ends, or the client leaves."""
        try:
            await super().send_body(send)
        except StreamCut:
            await self.connection.cut()
        finally:
            await self._turn_stream.finish()


async def _spelled(
    stream: TurnStream, spell: Callable[[TurnItem], bytes], *, begin: bytes, end: bytes
) -> AsyncIterator[bytes]:
    """Yield a stream as bytes, with comments that keep its connection alive."""
    if begin:
        yield begin
    async for items in stream.items():
        # A dialect may have no word for an item, and a comment does no harm then.
        yield b"".join(map(spell, items)) or KEEP_ALIVE
    if end:
        yield end
