"""Random requests to several chats, made at the same time or one by one."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.request_actor import RequestActor
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.sql import Query
from support.concurrency import row_locked
from support.factories import MODEL, OTHER_MODEL, chat_with_status, insert_tool_calls, text_content

OWNERS = ("ann", "bob", "cid")
ACTOR = RequestActor("admin", UUID(int=7))
MODELS = (MODEL,)
"""Models of the worker. ``OTHER_MODEL`` is another's."""

TOO_MUCH = 2**63 - 1
"""Bytes that a chat has stored, of which it cannot have more: each statement that adds to them fails."""

KINDS = {
    "idle": 6,
    "failed": 2,
    "key": 3,
    "repeated key": 1,
    "twice": 1,
    "known key": 1,
    "busy": 1,
    "archived": 1,
    "queued": 1,
    "other model": 1,
    "tool calls": 1,
    "another owner's": 1,
    "locked": 1,
    "poisoned": 1,
}
"""Kinds of chats and of what is sent to them, and how often each occurs."""
CLAIMED = {"idle", "failed", "key", "repeated key", "twice"}


@dataclass(frozen=True)
class SentMessage:
    """A message to a chat of one of the ``KINDS``."""

    number: int
    kind: str
    owner_id: str
    key: bool = False
    actor: bool = False
    again: bool = False
    """It is the second one to its chat."""

    @property
    def chat_id(self) -> UUID:
        return UUID(int=self.number)

    @property
    def claims(self) -> bool:
        return self.kind in CLAIMED and not self.again

    @property
    def request(self) -> dict[str, Any]:
        text = "more" if self.kind == "repeated key" else f"more {self.again}"
        request: dict[str, Any] = {
            "owner_id": "eve" if self.kind == "another owner's" else self.owner_id,
            "content": text_content(text * (1 + self.number)),
            "actor": ACTOR if self.actor else None,
        }
        if self.kind == "other model":
            request["model_config_id"] = OTHER_MODEL
        if self.key:
            request["key"] = IdempotencyKey(
                owner_id=self.owner_id, key=f"k{self.number}", request_hash=b"1"
            )
        return request

    async def send(self, chats: Chats) -> Any:
        return await chats.send(self.chat_id, **self.request)


def random_messages(seed: int, *, without: Sequence[str] = ()) -> list[SentMessage]:
    """Return messages in the order in which they are sent. The second one to a chat comes later."""
    chance = random.Random(seed)
    kinds = {kind: often for kind, often in KINDS.items() if kind not in without}
    messages = []
    for number in range(1, chance.randint(6, 20)):
        kind = chance.choices(list(kinds), list(kinds.values()))[0]
        actor, owner_id = chance.random() < 0.2, chance.choice(OWNERS)
        key = "key" in kind or chance.random() < 0.2
        first = SentMessage(number, kind, owner_id, key=key, actor=actor)
        messages.append(first)
    chance.shuffle(messages)
    again = [
        SentMessage(m.number, m.kind, m.owner_id, key=m.kind == "repeated key", again=True)
        for m in messages
        if m.kind in ("twice", "repeated key")
    ]
    return messages + again


async def make_chats(database: Database, messages: Sequence[SentMessage]) -> dict[UUID, Chat]:
    """Insert the chats of these messages, and what was stored of them before."""
    made: dict[UUID, Chat] = {}
    for message in messages:
        if message.again:
            continue
        columns: dict[str, Any] = {
            "id": message.chat_id,
            "root_chat_id": message.chat_id,
            "owner_id": message.owner_id,
        }
        status = Status.WAITING
        match message.kind:
            case "failed" | "tool calls":
                status = Status.ERROR
            case "busy":
                status = Status.RUNNING
            case "archived":
                columns["archived"] = True
            case "poisoned":
                columns["stored_bytes"] = TOO_MUCH
        queued = 0
        if message.kind == "queued":
            status, queued = Status.ERROR, 2
        chat = await chat_with_status(database, status, queued=queued, **columns)
        if message.kind == "tool calls":
            await insert_tool_calls(database, chat.id, "a", "b")
        if message.kind == "known key":
            await Chats(database).send(
                chat.id, **message.request | {"content": text_content("before")}
            )
            await database.fetch(
                "UPDATE chats SET status = 'waiting', pending_since = NULL WHERE id = $1", chat.id
            )
        made[chat.id] = chat
    return made


async def lock_chats(
    stack: AsyncExitStack,
    database: Database,
    messages: Sequence[SentMessage],
    made: dict[UUID, Chat],
) -> None:
    """Lock the chats of the kind that is locked, until the stack is closed."""
    for message in messages:
        if message.kind == "locked":
            await stack.enter_async_context(row_locked(database, made[message.chat_id]))


@contextmanager
def counted_statements(database: Database) -> Iterator[Counter[str]]:
    """Count the statements of the body by the names of their queries."""
    counts: Counter[str] = Counter()
    fetch = database.fetch

    async def counting(query: Query | str, /, *args: object, **values: object) -> Any:
        if isinstance(query, str):
            counts[query.partition("(")[0].removeprefix("-- ")] += 1
            return await fetch(query, *args)
        counts[query.name] += 1
        return await fetch(query, **values)

    database.fetch = counting  # type: ignore[method-assign,assignment]
    try:
        yield counts
    finally:
        database.fetch = fetch  # type: ignore[method-assign]
