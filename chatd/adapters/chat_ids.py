"""Ids of chats and keys of requests, derived from the ids of clients, so that every replica agrees."""

import hashlib
from typing import Final
from uuid import UUID, uuid5

from pydantic_core import to_json

from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.domain.message import Content
from chatd.domain.sanitize import replace_unstorable
from chatd.store.idempotency import IdempotencyKey

_CHAT_NAMESPACE: Final = UUID("6f0c3a52-5d2e-5b1e-9c55-5a1f6f3f9a10")
_HASHED: Final = 5
"""Version of UUIDs that are hashes."""
_DIGEST_CHARACTERS: Final = 32
"""Characters of the hash of a client's own id: as many as an id of its own has bits."""


def chat_id(owner_id: str, given: str) -> UUID:
    """Return the id of the chat that a client of this owner names.

    A UUID, in any spelling, is the id itself. Anything else is hashed together with the owner: two owners
    may both say "main".
    """
    try:
        return UUID(given)
    except ValueError:
        return _hashed(owner_id, given)


def new_chat_id(owner_id: str, given: str) -> UUID:
    """Return the id of a chat that is to be created, as ``chat_id`` does.

    Raises ``HttpProblem`` (422) for a UUID that is a hash: nobody may take the chat that another name, or
    a call that starts an agent, stands for.
    """
    chat = chat_id(owner_id, given)
    if chat.version == _HASHED and chat != _hashed(owner_id, given):
        reason = "there is no such chat, and a UUID of version 5 cannot be chosen"
        raise invalid_request(FieldProblem(where="body.id", message=reason))
    return chat


def _hashed(owner_id: str, given: str) -> UUID:
    return uuid5(_CHAT_NAMESPACE, f"{owner_id}\0{replace_unstorable(given)}")


def send_key(
    owner_id: str, dialect: str, chat: UUID, client_key: str, content: Content
) -> IdempotencyKey:
    """Return the key with which a message of a client is stored once, however often it is sent.

    With other content it is another request, and the store refuses it: the client edits its message.
    """
    return _key(owner_id, f"{dialect}:{chat.hex}:{_digest(client_key)}", content)


def edit_key(
    owner_id: str, dialect: str, chat: UUID, message_id: int, content: Content
) -> IdempotencyKey:
    """Return the key of an edit of a stored message.

    It names the message that is replaced, or a text that is edited back would count as done already.
    """
    fingerprint = _digest(_encoded(content).decode())
    return _key(owner_id, f"{dialect}:{chat.hex}:edit:{message_id}:{fingerprint}", content)


def regenerate_key(
    owner_id: str, dialect: str, chat: UUID, message_id: int, version: int
) -> IdempotencyKey:
    """Return the key with which a message is answered anew once, by all requests that saw this version."""
    return _key(owner_id, f"{dialect}:{chat.hex}:regenerate:{message_id}:{version}", ())


def _key(owner_id: str, name: str, content: Content) -> IdempotencyKey:
    return IdempotencyKey(owner_id, f"ad:{name}", hashlib.sha256(_encoded(content)).digest())


def _encoded(content: Content) -> bytes:
    return to_json([dict(sorted(part.items())) for part in content])


def _digest(text: str) -> str:
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:_DIGEST_CHARACTERS]
