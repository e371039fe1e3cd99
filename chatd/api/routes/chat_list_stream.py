"""The stream of all chats of a caller, as server-sent events.

It tells states, not moves: whoever comes back with a cursor gets each chat that was touched since, as it
is now, and hears of those that were deleted. The hand-over is the one of a chat's stream: watch first,
then read, then drop by version what came twice.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request import headers
from chatd.api.request.caller import Caller
from chatd.api.request.pagination import chat_page
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.events import ListEvent, SseMediaType, sse_response
from chatd.api.scope import GRANT
from chatd.api.sse import EventStreamResponse, encode_event, iterate
from chatd.domain.chat_list import (
    ChangeBatch,
    ChatChange,
    ListQuery,
    SentVersions,
    can_resume,
    decode_cursor,
    encode_cursor,
)
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.stream_events import StreamEventType
from chatd.fanout.list_hub import ListSubscription

router = APIRouter(prefix="/api/v1", tags=["streams"])

_SNAPSHOT_SIZE = 50
"""Chats of a snapshot; the rest of the list is paged."""
_CLOCK_RESOLUTION = timedelta(microseconds=1)
_FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


@router.get(
    "/chats/stream",
    dependencies=[RejectUnknownParameters],
    response_model=None,
    response_class=SseMediaType,
    responses=sse_response(ListEvent) | problem_responses("too_many_streams"),
)
async def stream_chats(
    request: Request,
    caller: Caller,
    context: Context,
    after: Annotated[str | None, Query(description="The id of the last event you have.")] = None,
) -> EventStreamResponse:
    """Follow all your chats on one connection.

    Starts with a `snapshot` of the 50 most recently touched, or with what was touched since the event
    that you name. `chat` is a whole chat, whenever one moved, as it is now; `deleted` names one that
    is gone. When you come back you may be told again what you know: drop a chat whose `version` you
    have. `reset` says that your cursor is too old; a `snapshot` follows.
    """
    named = headers.header_value(request.scope, headers.LAST_EVENT_ID)
    stay = context.stream_sessions.start(request.scope[GRANT])
    view = context.list_hub.subscribe(caller.owner_id)
    stay.on_end(view.disconnect)

    def close() -> None:
        context.list_hub.unsubscribe(view)
        stay.close()

    opening = _ChatListStream(context, view)
    try:
        first, seen = await opening.open(named or after)
    except BaseException:
        close()
        raise
    content = _stream_events(opening, context, view, first, seen)
    return EventStreamResponse(content, view, context, stay, close=close)


@router.api_route(
    "/chats/stream", methods=["DELETE", "PATCH", "POST", "PUT"], include_in_schema=False
)
async def reject_other_methods() -> None:
    """Else these would be asked of a chat called ``publish_part``."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET"})


class _ChatListStream:
    """Where a stream starts."""

    def __init__(self, context: ApiContext, subscription: ListSubscription) -> None:
        self._context = context
        self._subscription = subscription
        self._overlap = context.list_hub.overlap

    async def open(self, cursor: str | None) -> tuple[list[bytes], ChangeBatch | None]:
        """What it is told first, and the first of what it missed."""
        if cursor is None:
            return [await self._snapshot()], None
        try:
            moment = decode_cursor(cursor)
            seen = await self._read_changes(moment - self._overlap)
        except ValueError:
            seen = None
        kept = timedelta(days=self._context.event_retention_days)
        if seen is not None and can_resume(
            moment, read_at=seen.read_at, overlap=self._overlap, retention=kept
        ):
            self._context.list_hub.attach(self._subscription, seen.read_at)
            return [], seen
        why = "this cursor cannot be resumed; what follows is a snapshot"
        return [encode_event(StreamEventType.RESET, {"reason": why}), await self._snapshot()], None

    async def missed_changes(self, batch: ChangeBatch) -> AsyncGenerator[list[bytes]]:
        """What the viewer missed, a read at a time; a cut between two of them loses nothing."""
        known, begun_at = SentVersions(), batch.read_at
        while True:
            fresh = self._subscription.mark_sent(known.take_new(batch.changes))
            if batch.is_complete:
                yield await _render(self._context, fresh, begun_at)
                return
            last = batch.changes[-1].changed_at
            yield await _render(self._context, fresh, min(last, begun_at))
            since = last - _CLOCK_RESOLUTION  # others may have been touched at the very same moment
            known.prune(since)
            batch = await self._read_changes(since, known)

    async def _snapshot(self) -> bytes:
        clock = await self._read_changes(_FAR_FUTURE)
        found = await self._context.store.chat_lists.page(
            owner_id=self._subscription.owner_id, limit=_SNAPSHOT_SIZE + 1
        )
        await self._context.ensure_model_names(*(chat.last_model_config_id for chat in found))
        self._subscription.mark_sent(
            [ChatChange.from_chat(chat) for chat in found[:_SNAPSHOT_SIZE]]
        )
        self._context.list_hub.attach(self._subscription, clock.read_at)
        page = chat_page(found, _SNAPSHOT_SIZE, self._context.present.chat)
        return encode_event(StreamEventType.SNAPSHOT, page, encode_cursor(clock.read_at))

    async def _read_changes(self, since: datetime, sent: SentVersions | None = None) -> ChangeBatch:
        owner_id = self._subscription.owner_id
        place = ListQuery(owner_id, since, sent.versions_since(since) if sent else {})
        return (await self._context.store.chat_lists.changed_since([place]))[owner_id]


async def _stream_events(
    chat_list: _ChatListStream,
    context: ApiContext,
    subscription: ListSubscription,
    initial: list[bytes],
    batch: ChangeBatch | None,
) -> AsyncIterator[bytes]:
    """What was missed, and everything that happens from here on."""

    async def pull() -> list[bytes]:
        return await _render(context, subscription.take(), subscription.read_at)

    if initial:
        yield b"".join(initial)
    if batch is not None:
        async with aclosing(chat_list.missed_changes(batch)) as missed:
            try:
                async for lines in missed:
                    if context.hub.draining:
                        lines.append(encode_event(StreamEventType.DRAINING, {}))
                    yield b"".join(lines)
                    if subscription.closed or context.hub.draining:
                        return
            except DatabaseUnavailable:
                return  # the client comes back with the cursor that it has
    events = iterate(
        subscription,
        pull,
        draining=lambda: context.hub.draining,
        keepalive_seconds=context.keepalive_seconds,
    )
    async for piece in events:
        yield piece


async def _render(
    context: ApiContext, changes: Sequence[ChatChange], read_at: datetime | None
) -> list[bytes]:
    """Events of touched chats. Who has the last of them has come to ``read_at``, and no sooner."""
    await context.ensure_model_names(
        *(touch.chat.last_model_config_id for touch in changes if touch.chat)
    )
    return [
        encode_event(
            StreamEventType.CHAT if touch.chat else StreamEventType.DELETED,
            context.present.chat(touch.chat) if touch.chat else {"id": touch.chat_id},
            encode_cursor(read_at) if read_at is not None and touch is changes[-1] else None,
        )
        for touch in changes
    ]
