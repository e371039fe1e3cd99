"""The objects of which a completion is made, streamed or whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chatd.domain.chat import Usage
from chatd.domain.message import Part

STOP: Final = "stop"
TOOL_CALLS: Final = "tool_calls"
_FINISH_REASONS: Final[Mapping[str | None, str]] = {
    "length": "length",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
}

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionHead:
    """The fields that every chunk of a completion has, and the whole one."""

    id: str
    created: int
    model: str
    client_tools: frozenset[str] = frozenset()
    """Names of the tools that the client runs. Calls of others are the server's own, and left out."""

    def fields(self, kind: str) -> Object:
        """Return the fields of an object of this ``kind``."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def is_client_call(self, part: Part) -> bool:
        """Return whether a part is a call that the client is to run."""
        return part["type"] == "tool-call" and part["tool_name"] in self.client_tools


def finish_reason(reason: str | None) -> str:
    """Return the word for the reason why the model ended its answer."""
    return _FINISH_REASONS.get(reason, STOP)


def citations(parts: Iterable[Part]) -> list[Object]:
    """Return the sources of an answer that have a URL. They stand for all of its text."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": part["url"],
                "title": part.get("title") or part["url"],
                "start_index": 0,
                "end_index": 0,
            },
        }
        for part in parts
        if part["type"] == "source" and part.get("url")
    ]


def usage_object(usage: Usage) -> Object:
    """Return the usage of a turn."""
    prompt_tokens, completion_tokens = usage.input_tokens, usage.output_tokens
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
