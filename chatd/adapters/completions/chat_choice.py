"""The chat of a request: one of its own that expires, or one that the request names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.request import headers
from chatd.api.request.headers import Header, header_value

CHAT: Final = "x-chatd-chat"
DETACHED: Final = "x-chatd-detached"
IGNORED: Final = "x-chatd-ignored"
METADATA_CHAT: Final = "chat_id"
_MAX_NAME_LENGTH: Final = 255


def _header(name: str, description: str) -> Header:
    return Header(name, description, {"type": "string", "maxLength": _MAX_NAME_LENGTH})


_CHAT: Final = _header(CHAT, "The chat to continue.")
_CLIENTS: Final = (
    _header("x-openwebui-chat-id", "The conversation of Open WebUI."),
    _header("x-conversation-id", "The conversation of LibreChat."),
)
_TASK: Final = _header(
    "x-openwebui-task", "What Open WebUI wants besides an answer: a title, tags."
)
_ANSWER: Final = _header("x-openwebui-message-id", "The answer of Open WebUI that is to be made.")
_NO_NAMES: Final = frozenset({"", "new", "null", "undefined"})
"""Names that clients send for a conversation that has no id yet."""


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """The name of the chat that a request continues, or of the one of its own.

    ``name`` is a client's own word. None: the request is all there is to the chat.
    """

    name: str | None
    is_kept: bool
    """False for a chat that expires, which only a repetition of the request finds."""
    answer: str = ""
    """The client's own id of the answer that it wants, if it tells: another id wants another answer."""


def choose_chat(scope: Scope, metadata: Mapping[str, Any] | None) -> ChatChoice:
    """Return which chat a request is for. Raises ``HttpProblem`` (422)."""
    named = _named(scope, metadata)
    if named is None and not _value(scope, _TASK):
        named = next(filter(None, (_value(scope, header) for header in _CLIENTS)), None)
    if named is not None:
        return ChatChoice(named, is_kept=True, answer=_value(scope, _ANSWER) or "")
    key = header_value(scope, headers.IDEMPOTENCY_KEY)
    return ChatChoice(None if key is None else f"idempotency-key\0{key}", is_kept=False)


def _named(scope: Scope, metadata: Mapping[str, Any] | None) -> str | None:
    """Return the chat that a request names in the words of chatd."""
    by_header = header_value(scope, _CHAT)
    by_field = (metadata or {}).get(METADATA_CHAT)
    if by_field is not None and not (
        isinstance(by_field, str) and 0 < len(by_field) <= _MAX_NAME_LENGTH
    ):
        reason = f"must be a string of 1 to {_MAX_NAME_LENGTH} characters"
        raise invalid_request(FieldProblem(where=f"body.metadata.{METADATA_CHAT}", message=reason))
    if by_header and by_field and by_header != by_field:
        raise HttpProblem(
            "conflicting_parameters",
            f"{CHAT}, metadata.{METADATA_CHAT}: they name two chats; give one of the two.",
        )
    return by_header or by_field or None


def _value(scope: Scope, header: Header) -> str | None:
    """Return the value of a client's header. None: it has none, or only the place for one."""
    value = (header_value(scope, header) or "").strip()
    return None if value in _NO_NAMES or value.startswith("{") else value
