"""Pages: how many items one holds, and the cursor that leads to the next page of a list of chats."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import Query

from chatd.api.problems import BadRequest
from chatd.api.schemas import ChatOut, Page
from chatd.domain.chat import Chat

Limit = Annotated[int, Query(ge=1, le=200, description="The most items of a page.")]


def page_of(found: Sequence[Chat], limit: int, dress: Callable[[Chat], ChatOut]) -> Page[ChatOut]:
    """A page of at most ``limit`` chats, of which one more were asked for."""
    return Page(
        items=[dress(chat) for chat in found[:limit]],
        next_cursor=_cursor(found[limit - 1]) if len(found) > limit else None,
    )


def _cursor(chat: Chat) -> str:
    place = f"{chat.updated_at.isoformat()} {chat.id}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[datetime, UUID]:
    """When the last chat of the page before was touched, and its id. Raises ``BadRequest`` (422)."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, chat_id = base64.urlsafe_b64decode(padded).decode().split(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(chat_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadRequest(
            "invalid_cursor",
            "cursor: it is not one that this API has given.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        ) from error
