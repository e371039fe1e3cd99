"""Histories as the model is shown them, and those that this process still knows from the last turn.

A known history costs a turn 5 us, however long it is, and one that is read a statement. The
benchmarks ``histories`` and ``turns`` watch it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from chatd.domain.message import Message, Role, unknown_word
from chatd.domain.request_size import RequestSize
from chatd.domain.tool_call import ToolCall

_MESSAGE_BYTES: Final = 1000
"""Memory that a message takes besides its content, about."""
_HISTORY_BYTES: Final = 500
"""Memory that a history takes besides its messages, about: also one without any."""


class _Totals(NamedTuple):
    """Facts of all messages of a history, so that a turn looks at new ones only."""

    size: int
    """Bytes of memory that they take, about."""
    unknown_word: str | None
    request_size: RequestSize

    def followed_by(self, messages: Sequence[Message]) -> "_Totals":
        size = sum([message.size for message in messages]) + _MESSAGE_BYTES * len(messages)
        return _Totals(
            self.size + size,
            self.unknown_word or unknown_word(messages),
            self.request_size.followed_by(messages),
        )


_NOTHING: Final = _Totals(0, None, RequestSize())


def in_order(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return messages as the model is shown them: the latest summary stands for all that it covers.

    System prompts are never covered.
    """
    until = max([one.covers_until or 0 for one in messages], default=0)
    shown = [
        one
        for one in messages
        if one.covers_until == until or one.place > until or one.role is Role.SYSTEM
    ]
    return tuple(sorted(shown, key=attrgetter("place", "id")))


@dataclass(frozen=True, slots=True)
class ChatHistory:
    """Messages that the model is shown, oldest first, and the tools that the chat's client runs.

    A tool is an object of ``name``, ``description`` and ``parameters``, a JSON schema.
    ``ledger`` are the tool calls that have no result yet and are in the ledger.
    """

    messages: tuple[Message, ...] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    ledger: tuple[ToolCall, ...] = ()
    _known_totals: _Totals | None = field(default=None, compare=False, repr=False)

    def with_messages(self, messages: Sequence[Message]) -> "ChatHistory":
        """Return the history with further messages."""
        if any(message.covers_until is not None for message in messages):
            return ChatHistory(in_order([*self.messages, *messages]), self.tools, self.ledger)
        totals = self._totals.followed_by(messages)
        return ChatHistory((*self.messages, *messages), self.tools, self.ledger, totals)

    @property
    def _totals(self) -> _Totals:
        totals = self._known_totals
        if totals is None:
            totals = _NOTHING.followed_by(self.messages)
            object.__setattr__(self, "_known_totals", totals)
        return totals

    def before(self, message_id: int) -> "ChatHistory":
        """Return the history of the messages before this one, which no summary covers."""
        kept = tuple([one for one in self.messages if one.place < message_id])
        return ChatHistory(kept, self.tools)

    def with_ledger(self, calls: tuple[ToolCall, ...]) -> "ChatHistory":
        """Return the history with these open calls."""
        return ChatHistory(self.messages, self.tools, calls, self._totals)

    @property
    def unknown_word(self) -> str | None:
        """A role or part type that this version does not know. None: it knows all of them."""
        return self._totals.unknown_word

    @property
    def request_size(self) -> RequestSize:
        """The size of a request with all messages."""
        return self._totals.request_size

    @property
    def size(self) -> int:
        """Bytes of memory that the history takes, about."""
        return _HISTORY_BYTES + (len(str(self.tools)) if self.tools else 0) + self._totals.size


@dataclass(frozen=True, slots=True)
class _Known:
    version: int
    history: ChatHistory
    tools_version: int
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

    def keep(
        self,
        chat_id: UUID,
        version: int,
        history: ChatHistory,
        *,
        tools_version: int | None = None,
    ) -> None:
        """Know the history of a chat at this version, with the tools of ``tools_version``."""
        self.take(chat_id, version)
        known = _Known(version, history, tools_version or 0, history.size)
        if known.size > self._max_bytes:
            return
        self._known[chat_id] = known
        self.size += known.size
        while self.size > self._max_bytes:
            self.size -= self._known.popitem(last=False)[1].size

    def carry_over(self, chat_id: UUID, version: int) -> None:
        """Know the history of this version for the next one, too: the transition did not change it."""
        known = self._known.get(chat_id)
        if known is not None and known.version == version:
            self._known[chat_id] = replace(known, version=version + 1)

    def tools_version(self, chat_id: UUID, tools: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the ``tools_version`` at which the client's tools were these, 0 for none.

        None: they were others, or it is not known.
        """
        known = self._known.get(chat_id)
        if known is None or [*known.history.tools] != [*tools]:
            return None
        return known.tools_version

    def take(self, chat_id: UUID, version: int) -> ChatHistory | None:
        """Return the history of a chat at this version, and forget it. None: it is not known."""
        known = self._known.pop(chat_id, None)
        if known is None:
            return None
        self.size -= known.size
        return known.history if known.version == version else None
