"""Pages of a list of chats: their size, and the cursor that leads to the next one."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query

from chatd.api.errors.problems import HttpProblem
from chatd.api.schema import resources
from chatd.domain.chat import Chat

Archived = Annotated[
    bool | Literal["any"],
    Query(description="`true`: archived chats only. `any`: these too. Default: only the others."),
]
Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items of the page.")]


def chat_page(
    chats: Sequence[Chat], present: Callable[[Chat], resources.Chat], *, has_more: bool
) -> resources.Page[resources.Chat]:
    """Return a page of chats. ``has_more`` gives it the cursor of the next page."""
    return resources.Page(
        items=[present(chat) for chat in chats],
        next_cursor=_encode_cursor(chats[-1]) if has_more else None,
    )


def _encode_cursor(chat: Chat) -> str:
    position = f"{chat.updated_at.isoformat()} {chat.id}"
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the time of update and the id that a page ended with. Raises ``HttpProblem`` (422)."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        updated_at, chat_id = base64.urlsafe_b64decode(padded).decode().split(" ")
        return datetime.fromisoformat(updated_at).astimezone(UTC), UUID(chat_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise HttpProblem(
            "invalid_cursor",
            "cursor: it was not issued by this API.",
        ) from error
