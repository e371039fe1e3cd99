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

from chatd.api import headers
from chatd.api.auth import Caller
from chatd.api.desk import AtDesk, Desk
from chatd.api.events import ListEvent, Sse, streamed
from chatd.api.pages import page_of
from chatd.api.problems import documented
from chatd.api.query import OnlyKnown
from chatd.api.scope import LET_IN
from chatd.api.sse import EventStream, encode, follow
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.event import StreamEventType
from chatd.domain.listing import (
    ChangeBatch,
    ChatChange,
    ListQuery,
    SentVersions,
    can_resume,
    decode_cursor,
    encode_cursor,
)
from chatd.live.lists import ListSubscription

router = APIRouter(prefix="/api/v1", tags=["streams"])

_SNAPSHOT = 50
"""Chats of a snapshot; the rest of the list is paged."""
_MOMENT = timedelta(microseconds=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


@router.get(
    "/chats/stream",
    dependencies=[OnlyKnown],
    response_model=None,
    response_class=Sse,
    responses=streamed(ListEvent) | documented("too_many_streams"),
)
async def stream_chats(
    request: Request,
    caller: Caller,
    desk: AtDesk,
    after: Annotated[str | None, Query(description="The id of the last event you have.")] = None,
) -> EventStream:
    """Follow all your chats on one connection.

    Starts with a `snapshot` of the 50 most recently touched, or with what was touched since the event
    that you name. `chat` is a whole chat, whenever one moved, as it is now; `deleted` names one that
    is gone. When you come back you may be told again what you know: drop a chat whose `version` you
    have. `reset` says that your cursor is too old; a `snapshot` follows.
    """
    named = headers.given(request.scope, headers.LAST_EVENT)
    stay = desk.stays.begin(request.scope[LET_IN])
    view = desk.list_hub.subscribe(caller.owner_id)
    stay.on_end(view.disconnect)

    def close() -> None:
        desk.list_hub.unsubscribe(view)
        stay.close()

    opening = _Opening(desk, view)
    try:
        first, seen = await opening.open(named or after)
    except BaseException:
        close()
        raise
    content = _follow(opening, desk, view, first, seen)
    return EventStream(content, view, desk, stay, close=close)


@router.api_route(
    "/chats/stream", methods=["DELETE", "PATCH", "POST", "PUT"], include_in_schema=False
)
async def only_get() -> None:
    """Else these would be asked of a chat called ``publish_part``."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET"})


class _Opening:
    """Where a stream starts."""

    def __init__(self, desk: Desk, view: ListSubscription) -> None:
        self._desk = desk
        self._view = view
        self._overlap = desk.list_hub.overlap

    async def open(self, cursor: str | None) -> tuple[list[bytes], ChangeBatch | None]:
        """What it is told first, and the first of what it missed."""
        if cursor is None:
            return [await self._snapshot()], None
        try:
            moment = decode_cursor(cursor)
            seen = await self._read(moment - self._overlap)
        except ValueError:
            seen = None
        kept = timedelta(days=self._desk.event_retention_days)
        if seen is not None and can_resume(
            moment, read_at=seen.read_at, overlap=self._overlap, retention=kept
        ):
            self._desk.list_hub.attach(self._view, seen.read_at)
            return [], seen
        why = "this cursor cannot be resumed; what follows is a snapshot"
        return [encode(StreamEventType.RESET, {"reason": why}), await self._snapshot()], None

    async def missed(self, seen: ChangeBatch) -> AsyncGenerator[list[bytes]]:
        """What the viewer missed, a read at a time; a cut between two of them loses nothing."""
        known, begun_at = SentVersions(), seen.read_at
        while True:
            fresh = self._view.mark_sent(known.take_new(seen.changes))
            if seen.is_complete:
                yield await _dress(self._desk, fresh, begun_at)
                return
            last = seen.changes[-1].changed_at
            yield await _dress(self._desk, fresh, min(last, begun_at))
            since = last - _MOMENT  # others may have been touched at the very same moment
            known.prune(since)
            seen = await self._read(since, known)

    async def _snapshot(self) -> bytes:
        clock = await self._read(_NEVER)
        found = await self._desk.lists.page(owner_id=self._view.owner_id, limit=_SNAPSHOT + 1)
        await self._desk.know(*(chat.last_model_config_id for chat in found))
        self._view.mark_sent([ChatChange.from_chat(chat) for chat in found[:_SNAPSHOT]])
        self._desk.list_hub.attach(self._view, clock.read_at)
        page = page_of(found, _SNAPSHOT, self._desk.dress.chat)
        return encode(StreamEventType.SNAPSHOT, page, encode_cursor(clock.read_at))

    async def _read(self, since: datetime, known: SentVersions | None = None) -> ChangeBatch:
        owner_id = self._view.owner_id
        place = ListQuery(owner_id, since, known.versions_since(since) if known else {})
        return (await self._desk.lists.changed_since([place]))[owner_id]


async def _follow(
    opening: _Opening,
    desk: Desk,
    view: ListSubscription,
    first: list[bytes],
    seen: ChangeBatch | None,
) -> AsyncIterator[bytes]:
    """What was missed, and everything that happens from here on."""

    async def pull() -> list[bytes]:
        return await _dress(desk, view.take(), view.read_at)

    if first:
        yield b"".join(first)
    if seen is not None:
        async with aclosing(opening.missed(seen)) as missed:
            try:
                async for lines in missed:
                    if desk.hub.draining:
                        lines.append(encode(StreamEventType.DRAINING, {}))
                    yield b"".join(lines)
                    if view.closed or desk.hub.draining:
                        return
            except DatabaseUnavailable:
                return  # the client comes back with the cursor that it has
    events = follow(
        view,
        pull,
        draining=lambda: desk.hub.draining,
        keepalive_seconds=desk.keepalive_seconds,
    )
    async for piece in events:
        yield piece


async def _dress(
    desk: Desk, touches: Sequence[ChatChange], read_at: datetime | None
) -> list[bytes]:
    """Events of touched chats. Who has the last of them has come to ``read_at``, and no sooner."""
    await desk.know(*(touch.chat.last_model_config_id for touch in touches if touch.chat))
    return [
        encode(
            StreamEventType.CHAT if touch.chat else StreamEventType.DELETED,
            desk.dress.chat(touch.chat) if touch.chat else {"id": touch.chat_id},
            encode_cursor(read_at) if read_at is not None and touch is touches[-1] else None,
        )
        for touch in touches
    ]
