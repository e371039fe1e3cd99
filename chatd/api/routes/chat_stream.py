"""The stream of one chat, as server-sent events.

The hand-over from what is stored to what is live is atomic: subscribe first, then read, then drop by
cursor what came twice. Every event carries the cursor that follows it as its ``id``; who comes back
with that gets exactly the rest, from any replica.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request import headers
from chatd.api.request.caller import Caller
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.events import ChatEvent, SseMediaType, sse_response
from chatd.api.schema.parts import public_delta
from chatd.api.scope import GRANT
from chatd.api.sse import EventStreamResponse, encode_event, iterate
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound
from chatd.domain.message import Message, client_tool_calls, pending_tool_calls
from chatd.domain.stream_events import StreamEventType
from chatd.fanout.topic import Subscription
from chatd.store.stream_reads import Snapshot
from chatd.streaming.event_reader import ChatEventReader, CursorEvent

router = APIRouter(prefix="/api/v1", tags=["streams"])


@router.get(
    "/chats/{chat_id}/stream",
    dependencies=[RejectUnknownParameters],
    response_model=None,
    response_class=SseMediaType,
    responses=sse_response(ChatEvent) | problem_responses("chat_not_found", "too_many_streams"),
)
async def stream_chat(
    chat_id: UUID,
    request: Request,
    caller: Caller,
    context: Context,
    after: Annotated[str | None, Query(description="The id of the last event you have.")] = None,
) -> EventStreamResponse:
    """Follow a chat. Starts with a `snapshot`, or right after the event that you name.

    The parts of a step (`message_part`) are a preview: `message` repeats all of it once it is stored,
    and `preview_reset` says that it will not be stored.
    """
    named = headers.header_value(request.scope, headers.LAST_EVENT_ID)
    stay = context.stream_sessions.start(request.scope[GRANT])
    subscription = context.hub.subscribe(chat_id)
    stay.on_end(subscription.disconnect)

    def close() -> None:
        context.hub.unsubscribe(subscription)
        stay.close()

    try:
        opening = _ChatStream(context, chat_id, caller.owner_filter, subscription)
        viewer, first = await opening.open(named or after)
    except BaseException:
        close()
        raise
    content = _stream_events(context, subscription, viewer, first)
    return EventStreamResponse(content, subscription, context, stay, close=close)


class _ChatStream:
    """Where a stream starts."""

    def __init__(
        self, context: ApiContext, chat_id: UUID, owner_id: str | None, subscription: Subscription
    ) -> None:
        self._context = context
        self._chat_id = chat_id
        self._owner_id = owner_id
        self._subscription = subscription

    async def open(self, cursor: str | None) -> tuple[ChatEventReader, list[bytes]]:
        """A viewer, and what it is to be told first."""
        if cursor is None:
            viewer, first = await self._snapshot()
            return viewer, [first]
        try:
            resumed = await self._resume(Cursor.parse(cursor))
        except ValueError:
            resumed = None
        if resumed is not None:
            return resumed
        viewer, first = await self._snapshot()
        why = "this cursor cannot be resumed; what follows is a snapshot"
        return viewer, [encode_event(StreamEventType.RESET, {"reason": why}), first]

    async def _snapshot(self) -> tuple[ChatEventReader, bytes]:
        found = await self._context.store.stream_reads.snapshot(
            self._chat_id, owner_id=self._owner_id
        )
        if found is None:
            raise ChatNotFound(self._chat_id)
        chat = found.chat
        cursor = Cursor(chat.version, chat.epoch, chat.settled_part)
        self._context.hub.attach(self._subscription, cursor, chat.settled_part, found.parts)
        viewer = ChatEventReader(self._subscription, cursor, settled_part=chat.settled_part)
        parts = viewer.snapshot_parts()
        await self._context.ensure_model_names(
            chat.last_model_config_id,
            *(message.model_config_id for message in found.messages),
            *(message.model_config_id for message in found.queue),
        )
        shown = _snapshot_data(self._context, found, parts)
        return viewer, encode_event(StreamEventType.SNAPSHOT, shown, viewer.cursor)

    async def _resume(self, cursor: Cursor) -> tuple[ChatEventReader, list[bytes]] | None:
        """None when the journal does not reach back to the cursor, or not yet up to it."""
        span = await self._context.store.stream_reads.resumable_range(
            self._chat_id, owner_id=self._owner_id
        )
        if span is None:
            raise ChatNotFound(self._chat_id)
        if not span.contains(cursor):
            return None
        parts_done = span.settled_part
        viewer = ChatEventReader(self._subscription, cursor, settled_part=parts_done)
        events: list[CursorEvent] = []
        parts: tuple[Any, ...] = ()
        epoch = span.epoch
        while True:
            # Parts are asked for from the start of the step: others will watch it from here too.
            shown = viewer.cursor.version
            place = replace(viewer.cursor, epoch=0, part=0)
            news = await self._context.store.stream_reads.updates_since([(self._chat_id, place)])
            if not news or news[0].version is None:
                break
            parts_done, epoch = news[0].settled_part, news[0].epoch
            events += viewer.events_for(news[0].entries)
            if viewer.cursor.version >= news[0].version:
                parts = tuple(part for batch in news[0].batches for part in batch.parts)
                break
            if viewer.cursor.version == shown:
                return None  # what follows on the cursor is gone
        viewer.set_settled_part(parts_done)
        begin = Cursor(viewer.cursor.version, epoch)
        self._context.hub.attach(self._subscription, begin, parts_done, parts)
        return viewer, await _render(self._context, events)


async def _stream_events(
    context: ApiContext, subscription: Subscription, reader: ChatEventReader, initial: list[bytes]
) -> AsyncIterator[bytes]:
    """Everything that happens from here on."""

    async def pull() -> list[bytes]:
        return await _render(context, reader.pull())

    if initial:
        yield b"".join(initial)
    events = iterate(
        subscription,
        pull,
        draining=lambda: context.hub.draining,
        keepalive_seconds=context.keepalive_seconds,
    )
    async for piece in events:
        yield piece
    if subscription.topic.deleted:
        yield encode_event(StreamEventType.DELETED, {"id": subscription.topic.chat_id})


async def _render(context: ApiContext, events: list[CursorEvent]) -> list[bytes]:
    messages = [fields for _, _, fields in events if isinstance(fields, Message)]
    await context.ensure_model_names(*(message.model_config_id for message in messages))
    return [
        encode_event(kind, dressed, cursor)
        for cursor, kind, fields in events
        if (dressed := _render_data(context, kind, fields)) is not None
    ]


def _render_data(
    context: ApiContext, event_type: StreamEventType, data: Mapping[str, Any] | Message
) -> object:
    """What an event says; None: nothing that would be the caller's business."""
    if isinstance(data, Message):
        return context.present.message(data)
    return public_delta(data) if event_type is StreamEventType.MESSAGE_PART else data


def _snapshot_data(context: ApiContext, snapshot: Snapshot, parts: list[Any]) -> dict[str, object]:
    return {
        "chat": context.present.chat(snapshot.chat),
        "messages": [context.present.message(message) for message in snapshot.messages],
        "queue": [context.present.queued_message(message) for message in snapshot.queue],
        "parts": [said for part in parts if (said := public_delta(part)) is not None],
        "action_required": _pending_action(snapshot),
    }


def _pending_action(snapshot: Snapshot) -> dict[str, object] | None:
    """What the client is to do, as ``action_required`` told it; who comes back must see it too."""
    deadline = snapshot.chat.action_deadline
    if deadline is None:
        return None
    calls = client_tool_calls(call.part for call in pending_tool_calls(snapshot.messages))
    return {"calls": calls, "deadline": deadline}
