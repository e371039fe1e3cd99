"""One request of each kind that takes an idempotency key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from chatd.domain.chat import Chat, Status
from chatd.domain.message import NewMessage, Role
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.tool_calls import ToolCalls
from support.factories import (
    MODEL,
    OWNER,
    PENDING_CALL_IDS,
    chat_with_status,
    text_content,
)
from support.tool_results import tool_results

KEY = IdempotencyKey(OWNER, "one", b"fingerprint")


@dataclass(frozen=True)
class Scene:
    """A chat, a message of its history, and a queued message if there is one."""

    database: Database
    chat: Chat
    message_id: int
    queued: int

    @property
    def chats(self) -> Chats:
        return Chats(self.database)


Ask = Callable[[Scene, IdempotencyKey], Awaitable[Any]]


async def set_up(database: Database, move: Transition) -> tuple[Scene, Ask]:
    status, ask = ASKS[move]
    chat = await chat_with_status(database, status, queued=1 if move is Transition.PROMOTE else 0)
    row = await database.fetchrow(
        "SELECT (SELECT min(id) FROM chat_messages), (SELECT min(id) FROM chat_queued_messages)"
    )
    assert row is not None
    return Scene(database, chat, row[0], row[1] or 0), ask


ASKS: dict[Transition, tuple[Status, Ask]] = {
    Transition.CREATE: (
        Status.WAITING,
        lambda scene, key: scene.chats.create(
            owner_id=OWNER, model_config_id=MODEL, content=text_content("hello"), key=key
        ),
    ),
    Transition.SEND: (
        Status.WAITING,
        lambda scene, key: scene.chats.send(
            scene.chat.id, owner_id=OWNER, content=text_content("more"), key=key
        ),
    ),
    Transition.INTERRUPT: (
        Status.PENDING,
        lambda scene, key: scene.chats.interrupt(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.RETRY: (
        Status.ERROR,
        lambda scene, key: scene.chats.retry(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.DESCRIBE: (
        Status.RUNNING,
        lambda scene, key: scene.chats.describe(
            scene.chat.id, owner_id=OWNER, title="new", key=key
        ),
    ),
    Transition.ARCHIVE: (
        Status.WAITING,
        lambda scene, key: scene.chats.archive(
            scene.chat.id, owner_id=OWNER, title="old", labels={"a": "b"}, key=key
        ),
    ),
    Transition.EDIT: (
        Status.RUNNING,
        lambda scene, key: Messages(scene.database).edit(
            scene.chat.id,
            scene.message_id,
            owner_id=OWNER,
            content=text_content("instead"),
            key=key,
        ),
    ),
    Transition.REGENERATE: (
        Status.WAITING,
        lambda scene, key: Messages(scene.database).regenerate(
            scene.chat.id, scene.message_id, owner_id=OWNER, key=key
        ),
    ),
    Transition.FORK: (
        Status.RUNNING,
        lambda scene, key: scene.chats.fork(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.APPEND: (
        Status.WAITING,
        lambda scene, key: Messages(scene.database).append(
            scene.chat.id,
            owner_id=OWNER,
            messages=[NewMessage(role=Role.ASSISTANT, content=text_content("said"))],
            key=key,
        ),
    ),
    Transition.CLEAR: (
        Status.ERROR,
        lambda scene, key: Messages(scene.database).clear(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.REQUEST_COMPACTION: (
        Status.WAITING,
        lambda scene, key: Messages(scene.database).request_compaction(
            scene.chat.id, owner_id=OWNER, instructions="keep the names", key=key
        ),
    ),
    Transition.SUBMIT_TOOL_RESULTS: (
        Status.REQUIRES_ACTION,
        lambda scene, key: ToolCalls(scene.database).submit(
            scene.chat.id, owner_id=OWNER, results=tool_results(*PENDING_CALL_IDS), key=key
        ),
    ),
    Transition.ANSWER_ACTION: (
        Status.REQUIRES_ACTION,
        lambda scene, key: ToolCalls(scene.database).answer(
            scene.chat.id, owner_id=OWNER, answers=tool_results(*PENDING_CALL_IDS), key=key
        ),
    ),
    Transition.PROMOTE: (
        Status.ERROR,
        lambda scene, key: Queue(scene.database).promote(
            scene.chat.id, scene.queued, owner_id=OWNER, key=key
        ),
    ),
}


async def count_rows(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) AS n FROM {table}")
    assert row is not None
    return int(row["n"])


TABLES = ("chats", "chat_messages", "chat_events", "idempotency_keys")
