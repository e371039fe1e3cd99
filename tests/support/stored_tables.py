"""All rows of all tables, so that two ways of doing the same can be compared."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from chatd.store.database import Database

_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-][\d:]+")


async def stored_tables(database: Database) -> Mapping[str, Any]:
    """Return all rows of all tables, and the round that was claimed."""
    tables = await database.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = current_schema()::regnamespace ORDER BY 1"
    )
    stored: dict[str, Any] = {}
    for (name,) in tables:
        rows = await database.fetch(
            f"SELECT to_jsonb(t) AS row FROM {name} t ORDER BY to_jsonb(t) -> 'version', to_jsonb(t)::text"
        )
        stored[name] = [row["row"] for row in rows]
    stored["round"] = await database.fetch("SELECT last_value FROM chat_claimed_round")
    return stored


async def empty_tables(database: Database) -> None:
    """Delete all chats and what is stored of them."""
    await database.fetch("DELETE FROM chats")
    await database.fetch("DELETE FROM chat_parts")
    await database.fetch("DELETE FROM idempotency_keys")
    await database.fetch("SELECT setval('chat_claimed_round', 1, false)")


def plainly(chat_id: UUID | None) -> Callable[[Any], Any]:
    """Return a function that makes values comparable, whatever the id of the chat and the time.

    The sizes of messages are estimates.
    """

    def plain(value: Any) -> Any:
        match value:
            case datetime():
                return "time"
            case UUID() if value == chat_id:
                return "chat"
            case str():
                return "time" if _TIME.fullmatch(value) else value.replace(str(chat_id), "chat")
            case dict():
                return {name: plain(each) for name, each in value.items()}
            case list() | tuple():
                return [plain(each) for each in value]
            case _ if hasattr(value, "__dataclass_fields__"):
                return plain(
                    {
                        each.name: getattr(value, each.name)
                        for each in fields(value)
                        if each.name != "size"
                    }
                )
            case _ if hasattr(value, "keys"):
                return plain(dict(value))
        return value

    return plain
