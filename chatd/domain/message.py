"""Messages, their content parts, and the deltas that fold into parts.

A content part is a plain mapping with a ``type`` (``text``, ``reasoning``, ``tool-call``,
``tool-result``, ``native-tool-call``, ``native-tool-result``, ``source``, ``file``, ``compaction``) in the
spelling of the API. A *delta* is a streamed piece of one content part: ``{"index": n, "type": …, …}``,
where ``index`` is the number of that part in the message.
Folding is associative, so batches of deltas can be joined in any grouping.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from chatd.domain.chat import Usage
from chatd.domain.compaction import COMPACTION_PART
from chatd.domain.files import File
from chatd.domain.stored_word import StoredWord

Part = Mapping[str, Any]
"""A content part, or a delta of one."""

Content = tuple[Part, ...]

NATIVE_PART_TYPES: Final = frozenset({"native-tool-call", "native-tool-result"})
"""Calls of tools that the provider ran itself while it answered, and their results."""

PART_TYPES: Final = NATIVE_PART_TYPES | {
    "text",
    "reasoning",
    "tool-call",
    "tool-result",
    "source",
    "file",
    COMPACTION_PART,
}
"""The types of content parts that this version knows."""


PAUSED: Final = "pause_turn"
"""Finish reason of an answer that its provider paused. It goes on when it is sent its answer back."""


class Role(StoredWord):
    """Author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


_ROLES: Final = frozenset(Role)


class Visibility(StrEnum):
    """The readers of a message: a summary is for the model only, a notice for the user only."""

    BOTH = "both"
    USER = "user"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be stored."""

    role: Role
    content: Content
    model_config_id: UUID | None = None
    visibility: Visibility = Visibility.BOTH
    usage: Usage | None = None
    finish_reason: str | None = None
    files: tuple[File, ...] = ()
    """The files that ``content`` refers to, as far as the chat may not have them yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A stored message. ``id`` rises within a chat; ``version`` is that of its transition."""

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
    """True once the message was taken out of the history. No reader is shown it any more."""
    covers_until: int | None = None
    """The last message that it stands for in the history. None: it is no summary."""
    compacted: bool = False
    """True if a summary covered it when it was read: the model is shown that instead."""
    size: int = field(default=0, compare=False)
    """Bytes that it takes in a page or an event, about."""

    @property
    def place(self) -> int:
        """Its place in the history, of which a summary takes that of the last message it covers."""
        return self.id if self.covers_until is None else self.covers_until


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message that waits for the running turn to end, and the model that is to answer it."""

    id: int
    chat_id: UUID
    content: Content
    model_config_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PendingToolCall:
    """A tool call without a result, and the id of its message once that is stored."""

    part: Part
    message_id: int | None

    @property
    def id(self) -> str:
        """The id that a result refers to, unique among the chat's pending calls."""
        call_id: str = self.part["tool_call_id"]
        return call_id


def pending_tool_calls(history: Sequence[Message | NewMessage]) -> tuple[PendingToolCall, ...]:
    """Return the calls at the end of a history that have no result yet, in their order.

    A user message never follows a pending call, so every call before the latest one is settled.
    """
    calls: dict[str, PendingToolCall] = {}
    places = range(len(history) - 1, -1, -1)
    turn = next((place for place in places if history[place].role is Role.USER), 0)
    for message in history[turn:]:
        for part in message.content:
            if part["type"] == "tool-call":
                stored = message.id if isinstance(message, Message) else None
                calls[part["tool_call_id"]] = PendingToolCall(part, stored)
            elif part["type"] == "tool-result":
                calls.pop(part["tool_call_id"], None)
    return tuple(calls.values())


def unknown_word(history: Sequence[Message]) -> str | None:
    """Return a role or part type that this version does not know. None: it knows all of them."""
    roles = {message.role for message in history}
    types = {part["type"] for message in history for part in message.content}
    return next((word for word in (*roles - _ROLES, *types - PART_TYPES)), None)


def is_json_object(text: str) -> bool:
    """Return True if ``text`` is a complete JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def error_results(calls: Sequence[Part], text_for: Callable[[Part], str]) -> NewMessage:
    """Return the message that answers ``calls`` that were not run, each with the text of ``text_for``."""
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


PROVIDER_DATA: Final = "provider"
"""Key of a provider's own data in a part. It is sent back to that provider, and to nobody else."""
CLIENT_KEY: Final = "client"
"""Key of a client's own id of a user's message, in the first part of it. It is shown to nobody."""
MAX_CLIENT_KEY_LENGTH: Final = 255
"""Characters of such an id. It is in an index, and ids of clients are shorter."""
_HIDDEN_KEYS: Final = frozenset({PROVIDER_DATA, CLIENT_KEY})


def public_part(part: Part) -> Part:
    """Return a part, or a delta, as clients see it."""
    if _HIDDEN_KEYS.isdisjoint(part):
        return part
    return {key: part[key] for key in part if key not in _HIDDEN_KEYS}


def public_delta(delta: Part) -> Part | None:
    """Return a delta as clients see it. None if it holds nothing for them."""
    return None if delta.keys() == _PROVIDER_DELTA_KEYS else public_part(delta)


def with_client_key(content: Content, key: str) -> Content:
    """Return the content of a message that a client knows by an id of its own.

    Raises:
        ValueError: The id is empty, or longer than ``MAX_CLIENT_KEY_LENGTH``.
    """
    if not 0 < len(key) <= MAX_CLIENT_KEY_LENGTH:
        raise ValueError(f"a client key must have 1 to {MAX_CLIENT_KEY_LENGTH} characters")
    first, *others = content
    return ({**first, CLIENT_KEY: key}, *others)


def client_key(content: Content) -> str | None:
    """Return the id by which a client knows a message with this content. None: it has none."""
    return content[0].get(CLIENT_KEY) if content else None


_PROVIDER_DELTA_KEYS: Final = frozenset({"index", "type", PROVIDER_DATA})
_FRAGMENT_KEYS: Final = 3
"""Number of the keys of a delta that is nothing but text: ``index``, ``type`` and ``text``."""
_CONCATENATED_KEYS = frozenset({"text", "args"})
"""Keys whose deltas are joined. Every other key keeps the value of its latest delta."""


def fold(deltas: Iterable[Part]) -> Content:
    """Join deltas into content parts, in the order of their ``index``."""
    joined: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        part = joined.setdefault(delta["index"], {})
        if len(delta) == _FRAGMENT_KEYS and "text" in delta and "text" in part:  # most deltas
            part["type"] = delta["type"]
            part["text"].append(delta["text"])
            continue
        for key, value in delta.items():
            if key in _CONCATENATED_KEYS:
                part.setdefault(key, []).append(value)
            elif key != "index":
                part[key] = value
    for part in joined.values():
        for key in _CONCATENATED_KEYS & part.keys():
            part[key] = "".join(part[key])
    return tuple([joined[index] for index in sorted(joined)])


def complete_parts(content: Iterable[Part]) -> Content:
    """Return the parts of an unfinished answer that are worth storing: text and reasoning, no tool call."""
    return tuple(
        part for part in content if part["type"] in {"text", "reasoning"} and part.get("text")
    )


def interrupted_message(
    content: Iterable[Part], *, model_config_id: UUID
) -> tuple[NewMessage, ...]:
    """Return the message of an answer that was stopped half-way; nothing when no part is complete."""
    parts = complete_parts(content)
    if not parts:
        return ()
    return (
        NewMessage(
            role=Role.ASSISTANT,
            content=parts,
            model_config_id=model_config_id,
            finish_reason="interrupted",
        ),
    )


def text_of(content: Iterable[Part]) -> str:
    """Return the text that a person reads: all text parts, joined."""
    return "".join(part["text"] for part in content if part["type"] == "text")


def unstored_message(
    number: int, role: Role, text: str, *, chat_id: UUID, version: int, created_at: datetime
) -> Message:
    """Return a message of a request to a model that is stored nowhere, with a ``number`` for its id."""
    return Message(
        id=number,
        chat_id=chat_id,
        version=version,
        role=role,
        content=({"type": "text", "text": text},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=created_at,
    )


def covered_steps(message: Message | NewMessage) -> int:
    """Return the number of responses of the current turn that a summary covers. 0: it is no summary."""
    steps: int = message.content[-1].get("steps", 0) if message.content else 0
    return steps
