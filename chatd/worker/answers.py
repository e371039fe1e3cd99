"""Answers of models: what is stored of one, and which are failures."""

from collections.abc import Iterable

from chatd.domain.failure import FailureKind
from chatd.domain.message import Content, Part, complete_parts, is_json_object

_REFUSALS = frozenset({"content_filter", "refusal"})
_LENGTH = "length"


def storable_content(content: Content, *, reason: str) -> Content:
    """Return what is stored of an answer that ended with ``reason``.

    An answer that its length limit stopped in the middle of a tool call keeps its text only: such a call is
    neither asked of the client nor run. Nobody can run a call without a name either.
    """
    if reason == _LENGTH and not all(map(_has_complete_arguments, _calls(content))):
        return complete_parts(content)
    return tuple(part for part in content if part["type"] != "tool-call" or part["tool_name"])


def reason_to_reject(content: Content, *, reason: str) -> tuple[FailureKind, str] | None:
    """Return why an answer is a failure, for a person. None: there is text, a file or a call in it."""
    if any(map(_says_something, content)):
        return None
    if reason in _REFUSALS:
        return FailureKind.CONTENT_FILTER, "the model refused to answer"
    if reason == _LENGTH:
        return FailureKind.PROVIDER_ERROR, "the model reached its length limit before it answered"
    return FailureKind.PROVIDER_ERROR, "the model answered nothing"


def _says_something(part: Part) -> bool:
    if part["type"] == "text":
        return bool(str(part["text"]).strip())
    return bool(part["type"] != "reasoning")


def _calls(content: Content) -> Iterable[Part]:
    return (part for part in content if part["type"] == "tool-call")


def _has_complete_arguments(call: Part) -> bool:
    return is_json_object(call.get("args") or "{}")
