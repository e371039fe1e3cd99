"""Endings of answers: each word with which a provider ends one, and its verdict.

Sources: the documentation of OpenAI, Anthropic, Mistral, DeepSeek, Z.ai and Gemini, and what compatible
servers were seen to send (``tests/field/test_endings.py`` names the reports).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from chatd.domain.message import PAUSED

MAX_REASON_LENGTH = 64
"""Longest word of a provider that is kept."""


class Verdict(Enum):
    """Verdict on an answer, by its end."""

    WHOLE = auto()
    OVER_LIMIT = auto()
    """The answer was stopped by a limit of its length."""
    REFUSED = auto()
    """The model or a filter of the provider stopped it."""
    FAILED = auto()
    """The provider says that it failed."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer: the reason as the API shows it, and the verdict."""

    reason: str
    verdict: Verdict


_STOP = Ending("stop", Verdict.WHOLE)
_TOOL_CALL = Ending("tool_call", Verdict.WHOLE)
_LENGTH = Ending("length", Verdict.OVER_LIMIT)
_CONTENT_FILTER = Ending("content_filter", Verdict.REFUSED)
_REFUSAL = Ending("refusal", Verdict.REFUSED)
_ERROR = Ending("error", Verdict.FAILED)

ENDINGS: Mapping[str, Ending] = {
    **dict.fromkeys(
        [
            "stop",
            "completed",
            "complete",
            "done",
            "end",
            "end_turn",
            "ended",
            "eos",
            "eos_token",
            "finish",
            "finished",
            "stop_sequence",
            "stop_token",
        ],
        _STOP,
    ),
    **dict.fromkeys(
        ["tool_calls", "tool_call", "tool_use", "tooluse", "function_call", "function_calls"],
        _TOOL_CALL,
    ),
    **dict.fromkeys(
        [
            "length",
            "max_tokens",
            "max_output_tokens",
            "max_length",
            "model_length",
            "token_limit",
            "model_context_window_exceeded",
            "context_length_exceeded",
        ],
        _LENGTH,
    ),
    **dict.fromkeys(
        [
            "content_filter",
            "content_filtered",
            "content_blocked",
            "blocklist",
            "guardrail_intervened",
            "image_safety",
            "prohibited_content",
            "recitation",
            "safety",
            "sensitive",
            "spii",
        ],
        _CONTENT_FILTER,
    ),
    "refusal": _REFUSAL,
    PAUSED: Ending(PAUSED, Verdict.WHOLE),
    **dict.fromkeys(
        [
            "error",
            "failed",
            "failure",
            "abort",
            "aborted",
            "cancelled",
            "canceled",
            "network_error",
            "insufficient_system_resource",
            "malformed_function_call",
            "unexpected_tool_call",
            "internal_error",
            "timeout",
        ],
        _ERROR,
    ),
}
"""Endings by the provider's word, in lower case."""

_NO_REASON = frozenset({"", "null", "none", "undefined"})


def ending_of(word: object) -> Ending | None:
    """Return the ending that a finish reason stands for. None: it is no reason.

    A word that the table does not know ends an answer too, and is kept as it is.
    """
    if not isinstance(word, str):
        return None
    word = word.strip()
    key = word.lower()
    if key in _NO_REASON:
        return None
    return ENDINGS.get(key) or Ending(word[:MAX_REASON_LENGTH], Verdict.WHOLE)
