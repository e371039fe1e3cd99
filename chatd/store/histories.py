"""Histories as the model is shown them, and those that this process still knows from the last turn.

A known history costs a turn 5 us, and one that is read a statement. The benchmarks ``histories`` and
``turns`` watch it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from chatd.domain.message import Message
from chatd.domain.tool_call import ToolCall

_MESSAGE_BYTES: Final = 1000
"""Memory that a message takes besides its content, about."""
_HISTORY_BYTES: Final = 500
"""Memory that a history takes besides its messages, about: also one without any."""


@dataclass(frozen=True, slots=True)
class ChatHistory:
    """Messages that the model is shown, oldest first, and the tools that the chat's client runs.

    A tool is an object of ``name``, ``description`` and ``parameters``, a JSON schema.
    ``ledger`` are the tool calls that have no result yet and are in the ledger.
    """

    messages: tuple[Message, ...] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    ledger: tuple[ToolCall, ...] = ()

    def with_messages(self, messages: Sequence[Message]) -> "ChatHistory":
        """Return the history with further messages."""
        return ChatHistory((*self.messages, *messages), self.tools, self.ledger)

    def before(self, message_id: int) -> "ChatHistory":
        """Return the history of the messages before this one."""
        return ChatHistory(tuple([one for one in self.messages if one.id < message_id]), self.tools)

    def with_ledger(self, calls: tuple[ToolCall, ...]) -> "ChatHistory":
        """Return the history with these open calls."""
        return ChatHistory(self.messages, self.tools, calls)

    @property
    def size(self) -> int:
        """Bytes of memory that the history takes, about."""
        tools = len(str(self.tools)) if self.tools else 0
        return (
            _HISTORY_BYTES + tools + sum(message.size + _MESSAGE_BYTES for message in self.messages)
        )


@dataclass(frozen=True, slots=True)
class _Known:
    version: int
    history: ChatHistory
    size: int


class KnownHistories:
    """The latest histories of chats that were made, or whose turns ended, here: up to ``max_bytes`` in all.

    A history is known for one version of its chat. Each change of a history is a transition, which raises
    the version. So a history that has changed is not known.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self.size = 0
        """Bytes of memory that they take, about."""

    def keep(self, chat_id: UUID, version: int, history: ChatHistory) -> None:
        """Know the history of a chat at this version."""
        self.take(chat_id, version)
        known = _Known(version, history, history.size)
        if known.size > self._max_bytes:
            return
        self._known[chat_id] = known
        self.size += known.size
        while self.size > self._max_bytes:
            self.size -= self._known.popitem(last=False)[1].size

    def take(self, chat_id: UUID, version: int) -> ChatHistory | None:
        """Return the history of a chat at this version, and forget it. None: it is not known."""
        known = self._known.pop(chat_id, None)
        if known is None:
            return None
        self.size -= known.size
        return known.history if known.version == version else None
