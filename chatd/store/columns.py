"""Columns that statements return of a chat, in one place.

A statement writes ``chat_columns(updated)`` where a chat is to be read from ``updated``. So a column of
``chats`` that no ``Chat`` has is sent to nobody.
"""

from dataclasses import fields
from typing import Final

from chatd.domain.chat import Chat, Usage

USAGE_COLUMNS: Final = tuple(column.name for column in fields(Usage))
PLAIN_CHAT_COLUMNS: Final = tuple(
    column.name for column in fields(Chat) if column.name not in {"status", "usage"}
)
CHAT_COLUMNS: Final = ("status", *PLAIN_CHAT_COLUMNS, *USAGE_COLUMNS)
MESSAGE_COLUMNS: Final = (
    "id",
    "chat_id",
    "version",
    "role",
    "content",
    "model_config_id",
    "finish_reason",
    "created_at",
    "page_bytes",
    "compacted",
    *USAGE_COLUMNS,
)
"""Columns that a stored message is read from, besides ``superseded_version``, which reads may leave out."""
