"""Ids of conversations, responses and items, which follow from what is stored.

A response answers one message of the user, or goes on after a message whose calls the client ran. Its id
has the chat and the *turn*, 16 hexadecimal digits: of a response that this adapter began, a number with the
top bit set, which the user's message has as its key. Of any other, the id of the message that it follows.
"""

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

_MINTED: Final = 1 << 63
_NAMESPACE: Final = UUID("0f0f5a53-7f0e-5b6e-8a55-6f8f1c1f4b7a")
"""Namespace of the chats that are made for one response. Never change it."""
_CONVERSATION: Final = re.compile(r"conv_([0-9a-f]{32})")
_RESPONSE: Final = re.compile(r"resp_([0-9a-f]{32})([0-9a-f]{16})")
_KEY: Final = re.compile(r"[89a-f][0-9a-f]{15}")
_ITEM: Final = re.compile(
    r"(msg|rs|fc|fco|mcpr)_([0-9a-f]{32})([0-9a-f]{16})([0-9a-f]{3})([0-9a-f]{3})(?:x[0-9]{1,9})?"
)
MAX_ITEM_NUMBER: Final = 0xFFF
"""Steps of a response, and parts of a step, that have ids of their own."""


@dataclass(frozen=True, slots=True)
class ResponseId:
    """The id of a response."""

    chat_id: UUID
    turn: int

    def __str__(self) -> str:
        return f"resp_{self.chat_id.hex}{self.turn:016x}"

    @classmethod
    def parse(cls, text: str) -> "ResponseId | None":
        """Return the id that ``text`` spells. None: no response has such an id."""
        matched = _RESPONSE.fullmatch(text)
        return None if matched is None else cls(UUID(hex=matched[1]), int(matched[2], 16))

    @property
    def key(self) -> str | None:
        """The key that the user's message has. None: ``message_id`` says which message it follows."""
        return f"{self.turn:016x}" if self.turn & _MINTED else None

    @property
    def message_id(self) -> int:
        """The id of the message that it follows, if it has no ``key``."""
        return self.turn


@dataclass(frozen=True, slots=True)
class ItemId:
    """The id of an item: of what was asked (step 0), or of a part of an answer.

    ``response`` is the first one of its turn, of which the steps are counted.
    """

    kind: str
    response: ResponseId
    step: int
    index: int
    attempt: int = 0
    """Answers of the turn that were void before, of an item in a stream."""

    def __str__(self) -> str:
        step, index = min(self.step, MAX_ITEM_NUMBER), min(self.index, MAX_ITEM_NUMBER)
        number = f"{self.response.turn:016x}{step:03x}{index:03x}"
        attempt = f"x{self.attempt}" if self.attempt else ""
        return f"{self.kind}_{self.response.chat_id.hex}{number}{attempt}"

    @classmethod
    def parse(cls, text: str) -> "ItemId | None":
        """Return the id that ``text`` spells, without its attempt. None: no item has such an id."""
        matched = _ITEM.fullmatch(text)
        if matched is None:
            return None
        kind, chat, turn, step, index = matched.groups()
        response = ResponseId(UUID(hex=chat), int(turn, 16))
        return cls(kind, response, int(step, 16), int(index, 16))


def conversation_id(chat_id: UUID) -> str:
    """Return the id of the conversation of a chat."""
    return f"conv_{chat_id.hex}"


def conversation_chat(text: str) -> UUID | None:
    """Return the chat of a conversation. None: no conversation has such an id."""
    matched = _CONVERSATION.fullmatch(text)
    return None if matched is None else UUID(hex=matched[1])


def new_turn(idempotency_key: str | None = None) -> int:
    """Return the turn of a new response: the same for the same idempotency key of an owner's requests."""
    if idempotency_key is None:
        return secrets.randbits(63) | _MINTED
    return int.from_bytes(sha256(idempotency_key.encode()).digest()[:8]) | _MINTED


def chat_of_response(owner_id: str, turn: int) -> UUID:
    """Return the id of the chat that is made for one response."""
    return uuid5(_NAMESPACE, f"{owner_id}\0{turn:016x}")


def turn_of_message(message_id: int, key: str | None) -> int:
    """Return the turn of the response to a message of the user, which has this key or none."""
    if key is not None and _KEY.fullmatch(key):
        return int(key, 16)
    return message_id
