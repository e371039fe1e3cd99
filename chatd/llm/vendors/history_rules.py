"""Facts of the provider kinds about the histories that they accept: ids, reasoning, files.

The table of kinds refers to these. The checks of the tests are written from the documentation of each
provider and do not read them, so that a wrong fact here fails there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

_MB = 1_000_000
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class ReasoningReplay(Enum):
    """The reasoning of earlier messages that a provider is sent back."""

    NEVER = auto()
    SIGNED = auto()
    """All that the provider signed or encrypted itself, together with the parts that it led to."""
    OF_TOOL_CALLS = auto()
    """That of the current turn's tool calls, in the field in which the server sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRules:
    """Facts about the histories that providers of one kind accept.

    ``unique_item_ids``: no two items of a request may have the same id. ``text_as_string``: a message of
    text alone has a string as its content, since some servers take no list.
    ``answer_after_tool_results``: a user message may not follow the results of tools directly.
    ``tool_call_id_pattern`` is matched in full, and ``tool_call_id_length`` is that of an id that replaces
    one that does not match. ``file_types`` holds the largest size in bytes of each media type of files.
    """

    reasoning: ReasoningReplay
    unique_item_ids: bool = False
    text_as_string: bool = False
    answer_after_tool_results: bool = False
    tool_call_id_pattern: str
    tool_call_id_length: int
    file_types: Mapping[str, int] = field(default_factory=dict)
    native_call_fields: Mapping[str, str] = field(default_factory=dict)
    """The argument without which a call of a native tool cannot go back, by the name of the tool."""
    tool_result_files: bool = False
    """Results of tools may hold images. If not, the user shows them in a message after the results."""


CHAT_COMPLETIONS = HistoryRules(
    reasoning=ReasoningReplay.OF_TOOL_CALLS,
    text_as_string=True,
    answer_after_tool_results=True,
    tool_call_id_pattern=r"[!-~]{1,40}",
    tool_call_id_length=29,
    file_types={
        **dict.fromkeys(_IMAGES, 20 * _MB),
        "audio/wav": 25 * _MB,
        "audio/mpeg": 25 * _MB,
        "application/pdf": 32 * _MB,
    },
)
"""Chat Completions on a server of unknown make. What the server itself refuses is a failed request."""

CHAT_COMPLETIONS_WITHOUT_REASONING = replace(
    CHAT_COMPLETIONS,
    reasoning=ReasoningReplay.NEVER,
    file_types=dict.fromkeys(_IMAGES, 20 * _MB),
)
"""Chat Completions on a server that refuses fields it does not know, and takes images only."""

DEEPSEEK = replace(CHAT_COMPLETIONS, file_types={})
"""DeepSeek's own API, whose models read text only."""

MISTRAL = replace(
    CHAT_COMPLETIONS_WITHOUT_REASONING,
    tool_call_id_pattern=r"[a-zA-Z0-9]{9}",
    tool_call_id_length=9,
    file_types=dict.fromkeys(_IMAGES, 10 * _MB),
)

RESPONSES = HistoryRules(
    reasoning=ReasoningReplay.SIGNED,
    unique_item_ids=True,
    tool_call_id_pattern=r"[a-zA-Z0-9_-]{1,64}",
    tool_call_id_length=29,
    tool_result_files=True,
    file_types={
        **dict.fromkeys(_IMAGES, 50 * _MB),
        "application/pdf": 50 * _MB,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": 50 * _MB,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": 50 * _MB,
    },
    native_call_fields={"web_search": "type", "code_execution": "container_id"},
)
"""OpenAI's Responses API."""

MESSAGES = HistoryRules(
    reasoning=ReasoningReplay.SIGNED,
    tool_call_id_pattern=r"[a-zA-Z0-9_-]{1,64}",
    tool_call_id_length=29,
    tool_result_files=True,
    file_types={**dict.fromkeys(_IMAGES, 3_932_160), "application/pdf": 32 * _MB},
)
"""Anthropic's Messages API. An image may have 5 MiB in base64."""
