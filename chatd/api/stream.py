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

from chatd.api import headers
from chatd.api.auth import Caller
from chatd.api.desk import AtDesk, Desk
from chatd.api.events import ChatEvent, Sse, streamed
from chatd.api.parts import streamed_part
from chatd.api.problems import documented
from chatd.api.query import OnlyKnown
from chatd.api.scope import LET_IN
from chatd.api.sse import EventStream, encode, follow
from chatd.domain.errors import ChatNotFound
from chatd.domain.event import Cursor, StreamEventType
from chatd.domain.message import Message, client_tool_calls, pending_tool_calls
from chatd.live.topic import Subscription
from chatd.live.viewer import ChatEventReader, CursorEvent
from chatd.store.streams import Snapshot

router = APIRouter(prefix="/api/v1", tags=["streams"])


@router.get(
    "/chats/{chat_id}/stream",
    dependencies=[OnlyKnown],
    response_model=None,
    response_class=Sse,
    responses=streamed(ChatEvent) | documented("chat_not_found", "too_many_streams"),
)
async def stream_chat(
    chat_id: UUID,
    request: Request,
    caller: Caller,
    desk: AtDesk,
    after: Annotated[str | None, Query(description="The id of the last event you have.")] = None,
) -> EventStream:
    """Follow a chat. Starts with a `snapshot`, or right after the event that you name.

    The parts of a step (`message_part`) are a preview: `message` repeats all of it once it is stored,
    and `preview_reset` says that it will not be stored.
    """
    named = headers.given(request.scope, headers.LAST_EVENT)
    stay = desk.stays.begin(request.scope[LET_IN])
    subscription = desk.hub.subscribe(chat_id)
    stay.on_end(subscription.disconnect)

    def close() -> None:
        desk.hub.unsubscribe(subscription)
        stay.close()

    try:
        opening = _Opening(desk, chat_id, caller.sees, subscription)
        viewer, first = await opening.open(named or after)
    except BaseException:
        close()
        raise
    content = _follow(desk, subscription, viewer, first)
    return EventStream(content, subscription, desk, stay, close=close)


class _Opening:
    """Where a stream starts."""

    def __init__(
        self, desk: Desk, chat_id: UUID, owner_id: str | None, subscription: Subscription
    ) -> None:
        self._desk = desk
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
        return viewer, [encode(StreamEventType.RESET, {"reason": why}), first]

    async def _snapshot(self) -> tuple[ChatEventReader, bytes]:
        found = await self._desk.streams.snapshot(self._chat_id, owner_id=self._owner_id)
        if found is None:
            raise ChatNotFound(self._chat_id)
        chat = found.chat
        cursor = Cursor(chat.version, chat.epoch, chat.settled_part)
        self._desk.hub.attach(self._subscription, cursor, chat.settled_part, found.parts)
        viewer = ChatEventReader(self._subscription, cursor, settled_part=chat.settled_part)
        parts = viewer.snapshot_parts()
        await self._desk.know(
            chat.last_model_config_id,
            *(message.model_config_id for message in found.messages),
            *(message.model_config_id for message in found.queue),
        )
        shown = _shown(self._desk, found, parts)
        return viewer, encode(StreamEventType.SNAPSHOT, shown, viewer.cursor)

    async def _resume(self, cursor: Cursor) -> tuple[ChatEventReader, list[bytes]] | None:
        """None when the journal does not reach back to the cursor, or not yet up to it."""
        span = await self._desk.streams.resumable_range(self._chat_id, owner_id=self._owner_id)
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
            news = await self._desk.streams.updates_since([(self._chat_id, place)])
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
        self._desk.hub.attach(self._subscription, begin, parts_done, parts)
        return viewer, await _dress(self._desk, events)


async def _follow(
    desk: Desk, subscription: Subscription, viewer: ChatEventReader, first: list[bytes]
) -> AsyncIterator[bytes]:
    """Everything that happens from here on."""

    async def pull() -> list[bytes]:
        return await _dress(desk, viewer.pull())

    if first:
        yield b"".join(first)
    events = follow(
        subscription,
        pull,
        draining=lambda: desk.hub.draining,
        keepalive_seconds=desk.keepalive_seconds,
    )
    async for piece in events:
        yield piece
    if subscription.topic.deleted:
        yield encode(StreamEventType.DELETED, {"id": subscription.topic.chat_id})


async def _dress(desk: Desk, events: list[CursorEvent]) -> list[bytes]:
    messages = [fields for _, _, fields in events if isinstance(fields, Message)]
    await desk.know(*(message.model_config_id for message in messages))
    return [
        encode(kind, dressed, cursor)
        for cursor, kind, fields in events
        if (dressed := _fields(desk, kind, fields)) is not None
    ]


def _fields(desk: Desk, kind: StreamEventType, fields: Mapping[str, Any] | Message) -> object:
    """What an event says; None: nothing that would be the caller's business."""
    if isinstance(fields, Message):
        return desk.dress.message(fields)
    return streamed_part(fields) if kind is StreamEventType.MESSAGE_PART else fields


def _shown(desk: Desk, found: Snapshot, parts: list[Any]) -> dict[str, object]:
    return {
        "chat": desk.dress.chat(found.chat),
        "messages": [desk.dress.message(message) for message in found.messages],
        "queue": [desk.dress.queued_message(message) for message in found.queue],
        "parts": [said for part in parts if (said := streamed_part(part)) is not None],
        "action_required": _asked(found),
    }


def _asked(found: Snapshot) -> dict[str, object] | None:
    """What the client is to do, as ``action_required`` told it; who comes back must see it too."""
    deadline = found.chat.action_deadline
    if deadline is None:
        return None
    calls = client_tool_calls(call.part for call in pending_tool_calls(found.messages))
    return {"calls": calls, "deadline": deadline}
