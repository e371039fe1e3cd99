"""Messages, the parts they are made of, and how streamed parts fold into one.

A content part is a plain mapping with a ``type`` (``text``, ``reasoning``, ``tool-call``,
``tool-result``, ``source``, ``file``) in the spelling of the API. A *streamed part* is a fragment of
one content part: ``{"index": n, "type": …, …}``, where ``index`` says which content part it adds to.
Folding is associative, so batches of fragments can be joined in any grouping.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from chatd.domain.chat import Usage

Part = Mapping[str, Any]
"""A content part, or a fragment of one."""

Content = tuple[Part, ...]


class Role(StrEnum):
    """Author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Visibility(StrEnum):
    """Who sees a message: a summary is for the model only, a notice for the user only."""

    BOTH = "both"
    USER = "user"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message that is about to be stored."""

    role: Role
    content: Content
    model_config_id: UUID | None = None
    visibility: Visibility = Visibility.BOTH
    usage: Usage | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stored message. ``id`` rises within a chat; ``version`` is the move that stored it."""

    id: int
    chat_id: UUID
    version: int
    role: Role
    content: Content
    model_config_id: UUID | None
    usage: Usage | None
    finish_reason: str | None
    created_at: datetime
    superseded: bool = False
    """Whether it was taken out of the history since: nobody is shown it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message that waits for the running turn to end. It keeps the model that was asked for."""

    id: int
    chat_id: UUID
    content: Content
    model_config_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PendingToolCall:
    """A call of a tool that has no result yet, and the message that makes it, once it is stored."""

    part: Part
    message_id: int | None

    @property
    def id(self) -> str:
        """What a result names it by; no other open call of the chat has it."""
        call_id: str = self.part["tool_call_id"]
        return call_id


def pending_tool_calls(history: Iterable[Message | NewMessage]) -> tuple[PendingToolCall, ...]:
    """The calls at the end of a history that have no result yet, in their order.

    A user message never follows an open call, so what is older than the latest one is settled.
    """
    calls: dict[str, PendingToolCall] = {}
    for message in history:
        if message.role is Role.USER:
            calls.clear()
        for part in message.content:
            if part["type"] == "tool-call":
                stored = message.id if isinstance(message, Message) else None
                calls[part["tool_call_id"]] = PendingToolCall(part, stored)
            elif part["type"] == "tool-result":
                calls.pop(part["tool_call_id"], None)
    return tuple(calls.values())


def client_tool_calls(calls: Iterable[Part]) -> list[dict[str, Any]]:
    """Calls as the client that is to run them is shown them."""
    return [{key: call.get(key) for key in ("tool_call_id", "tool_name", "args")} for call in calls]


def error_results(calls: Sequence[Part], text_for: Callable[[Part], str]) -> NewMessage:
    """The message that answers ``calls`` which nobody ran, each with what there is to ``text_for`` of it."""
    return NewMessage(
        role=Role.TOOL,
        content=tuple(
            {
                "type": "tool-result",
                "tool_call_id": call["tool_call_id"],
                "tool_name": call["tool_name"],
                "result": text_for(call),
                "is_error": True,
            }
            for call in calls
        ),
    )


_CONCATENATED_KEYS = ("text", "args")
"""Keys whose fragments are joined; every other key is kept from the latest fragment."""


def fold(deltas: Iterable[Part]) -> Content:
    """Join streamed fragments into content parts, in the order of their ``index``."""
    joined: dict[int, dict[str, Any]] = {}
    pieces: dict[tuple[int, str], list[str]] = {}
    for fragment in deltas:
        index = fragment["index"]
        part = joined.setdefault(index, {})
        for key, value in fragment.items():
            if key == "index":
                continue
            if key in _CONCATENATED_KEYS:
                pieces.setdefault((index, key), []).append(value)
                part.setdefault(key, "")
            else:
                part[key] = value
    for (index, key), texts in pieces.items():
        joined[index][key] = "".join(texts)
    return tuple(joined[index] for index in sorted(joined))


def complete_parts(content: Iterable[Part]) -> Content:
    """What of an unfinished answer can stand by itself: text and reasoning, but no half-made call."""
    return tuple(
        part for part in content if part["type"] in {"text", "reasoning"} and part.get("text")
    )


def interrupted_message(
    content: Iterable[Part], *, model_config_id: UUID
) -> tuple[NewMessage, ...]:
    """The message that an answer becomes which was stopped on the way; none, when nothing stands."""
    said = complete_parts(content)
    if not said:
        return ()
    return (
        NewMessage(
            role=Role.ASSISTANT,
            content=said,
            model_config_id=model_config_id,
            finish_reason="interrupted",
        ),
    )


def text_of(content: Iterable[Part]) -> str:
    """The text a person reads: all text parts, joined."""
    return "".join(part["text"] for part in content if part["type"] == "text")
