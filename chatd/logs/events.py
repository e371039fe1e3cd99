"""Table of log events, read from ``events.toml``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Context = Literal["chat", "request"]
CONTEXT_FIELDS: Mapping[Context, tuple[str, ...]] = {
    "chat": ("chat_id", "epoch"),
    "request": ("request_id",),
}
"""Fields that a line has from its context."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event: its fields, its meaning, and the action for an operator."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    context: Context | None
    exception: bool
    description: str
    action: str


@cache
def log_events() -> Mapping[str, LogEvent]:
    """Return all events by name, in the order of the file."""
    text = (resources.files(__package__) / "events.toml").read_text("utf-8")
    return {
        name: LogEvent(
            name=name,
            levels=(table["level"],) if isinstance(table["level"], str) else tuple(table["level"]),
            fields=tuple(table.get("fields", ())),
            context=table.get("context"),
            exception=table.get("exception", False),
            description=table["description"],
            action=table["action"],
        )
        for name, table in tomllib.loads(text).items()
    }
