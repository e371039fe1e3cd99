"""Native tools: tools that a provider runs itself while its model answers, such as a web search.

chatd passes them through, stores their calls and results with the answer, and runs none of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

NativeToolKind = Literal["web_search", "web_fetch", "code_execution"]

MAX_STATE_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of the results of one answer that are kept for the provider: some hundred searches.

A provider takes a result back whole or not at all. So the state of an answer with more is dropped.
"""
_MAX_SHOWN_LENGTH = 16 * 1024
"""Most characters of a result that clients see, as JSON."""
_MAX_SHOWN_TEXT_LENGTH = 2_000
"""Most characters of one text in such a result."""
_FOR_THE_PROVIDER = "encrypted"
"""Beginning of the names of fields that only the provider can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTool:
    """A native tool that a model is offered, with the options that are set."""

    kind: NativeToolKind
    options: Mapping[str, Any] = field(default_factory=dict)


def shown_result(content: object) -> object:
    """Return a result as clients see it: without what only the provider can read, and bounded."""
    shown = _shown(content)
    text = json.dumps(shown, ensure_ascii=False)
    return shown if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}…"


def _shown(value: object) -> object:
    match value:
        case str() if len(value) > _MAX_SHOWN_TEXT_LENGTH:
            return f"{value[:_MAX_SHOWN_TEXT_LENGTH]}…"
        case Mapping():
            return {
                key: _shown(inner)
                for key, inner in value.items()
                if not str(key).startswith(_FOR_THE_PROVIDER)
            }
        case list() | tuple():
            return [_shown(inner) for inner in value]
        case _:
            return value


def is_error_result(content: object) -> bool:
    """Return True if a result says that the call failed, in the words of any provider."""
    if not isinstance(content, Mapping):
        return False
    kind, status = content.get("type"), content.get("status")
    return str(kind).endswith("_error") or status in {"failed", "incomplete"}
