"""Parameters of the tools of agents, as models are shown them."""

from collections.abc import Mapping
from typing import Any, Final

from chatd.domain import agent_words as words

MAX_PROMPT_LENGTH: Final = 200_000
"""Characters of a prompt or a message: about as many as a model answers at most."""
MAX_NAME_LENGTH: Final = 200
MAX_IDS: Final = 100
"""Agents of one wait: as many as a chat may have (``agents.max_children``)."""
MAX_ID_LENGTH: Final = 64
MAX_TOOLS: Final = 100
MAX_TOOL_NAME_LENGTH: Final = 64
MAX_MODEL_NAME_LENGTH: Final = 200

Schema = Mapping[str, Any]

_ID: Final[Schema] = {"type": "string", "maxLength": MAX_ID_LENGTH, "description": words.ID}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _text(description: str, max_length: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": max_length, "description": description}


def spawn(*, models: str, tools: str) -> Schema:
    """Return the parameters of ``spawn_agent``, with the names that may be chosen."""
    tool_name = {"type": "string", "maxLength": MAX_TOOL_NAME_LENGTH}
    return _object(
        {
            "prompt": _text(words.PROMPT, MAX_PROMPT_LENGTH),
            "name": _text(words.NAME, MAX_NAME_LENGTH),
            "model": _text(words.MODEL.format(models=models), MAX_MODEL_NAME_LENGTH),
            "tools": {
                "type": "array",
                "items": tool_name,
                "maxItems": MAX_TOOLS,
                "description": words.TOOLS.format(tools=tools) if tools else words.NO_TOOLS,
            },
        },
        "prompt",
    )


def wait(*, max_seconds: float) -> Schema:
    """Return the parameters of ``wait_agent``."""
    return _object(
        {
            "ids": {
                "type": "array",
                "items": {"type": "string", "maxLength": MAX_ID_LENGTH},
                "minItems": 1,
                "maxItems": MAX_IDS,
                "description": words.IDS,
            },
            "until": {"type": "string", "enum": ["all", "any"], "description": words.UNTIL},
            "seconds": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": words.SECONDS.format(seconds=max_seconds),
            },
        },
        "ids",
    )


MESSAGE: Final = _object({"id": _ID, "text": _text(words.TEXT, MAX_PROMPT_LENGTH)}, "id", "text")
INTERRUPT: Final = _object({"id": _ID}, "id")
LIST: Final = _object({})
