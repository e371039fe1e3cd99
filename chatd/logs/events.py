"""The table of events, as data: ``events.toml``."""

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
"""What a line has from the context that it is written in."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event: what its lines hold, what it means, and what a person does about it."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    context: Context | None
    exception: bool
    description: str
    action: str


@cache
def log_events() -> Mapping[str, LogEvent]:
    """All events, by name, in the order of the file."""
    text = (resources.files(__package__) / "events.toml").read_text("utf-8")
    return {
        name: LogEvent(
            name=name,
            levels=(one["level"],) if isinstance(one["level"], str) else tuple(one["level"]),
            fields=tuple(one.get("fields", ())),
            context=one.get("context"),
            exception=one.get("exception", False),
            description=one["description"],
            action=one["action"],
        )
        for name, one in tomllib.loads(text).items()
    }
