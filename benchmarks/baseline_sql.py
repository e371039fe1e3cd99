"""Baseline of a turn: four plain statements through bare asyncpg, and nothing else.

The message and the status in one statement, a claim with ``SKIP LOCKED``, the last messages, the fenced
answer. The tables are the least that a durable chat service needs. There is no lease, no journal, no hint,
no stream and no limit.
"""

import random
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.replica import ANSWER

_CHATS = 5000
_SCHEMA = """
CREATE SCHEMA floor;
CREATE TABLE floor.chats (
    id bigint PRIMARY KEY,
    owner text NOT NULL,
    status text NOT NULL DEFAULT 'waiting'
        CHECK (status IN ('waiting', 'pending', 'running', 'error')),
    worker_id uuid,
    epoch bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    heartbeat_at timestamptz,
    pending_since timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ON floor.chats (pending_since) WHERE status = 'pending';
CREATE INDEX ON floor.chats (owner, id);
CREATE TABLE floor.chat_messages (
    id bigserial PRIMARY KEY,
    chat_id bigint NOT NULL REFERENCES floor.chats (id) ON DELETE CASCADE,
    role text NOT NULL,
    content jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON floor.chat_messages (chat_id, id);
"""
_MAKE_CHATS = """
WITH chat AS (
    INSERT INTO floor.chats (id, owner) SELECT g, 'u' || g % 100 FROM generate_series(1, $1) g RETURNING id
)
INSERT INTO floor.chat_messages (chat_id, role, content)
SELECT id, CASE WHEN g % 2 = 0 THEN 'user' ELSE 'assistant' END,
       jsonb_build_object('text', repeat('lorem ipsum ', 20))
FROM chat, generate_series(1, 6) g
"""
_SEND = """
WITH chat AS (
    UPDATE floor.chats
    SET status = 'pending', pending_since = now(), version = version + 1, updated_at = now()
    WHERE id = $1 AND status = 'waiting'
    RETURNING id
)
INSERT INTO floor.chat_messages (chat_id, role, content)
SELECT id, 'user', jsonb_build_object('text', $2::text) FROM chat
"""
_CLAIM = """
UPDATE floor.chats c
SET status = 'running', worker_id = '00000000-0000-0000-0000-000000000001', epoch = c.epoch + 1,
    version = c.version + 1, heartbeat_at = now(), updated_at = now()
FROM (
    SELECT id FROM floor.chats WHERE status = 'pending'
    ORDER BY pending_since LIMIT 1 FOR UPDATE SKIP LOCKED
) AS line
WHERE c.id = line.id
RETURNING c.id, c.epoch
"""
_HISTORY = """
SELECT id, role, content FROM floor.chat_messages WHERE chat_id = $1 ORDER BY id DESC LIMIT 5
"""
_FINISH = """
WITH chat AS (
    UPDATE floor.chats
    SET status = 'waiting', worker_id = NULL, heartbeat_at = NULL, pending_since = NULL,
        version = version + 1, updated_at = now()
    WHERE id = $1 AND epoch = $2 AND status = 'running'
    RETURNING id
)
INSERT INTO floor.chat_messages (chat_id, role, content)
SELECT id, 'assistant', jsonb_build_object('text', $3::text) FROM chat
"""
POOL_SIZE = 16
"""As many connections as clients."""


@dataclass(slots=True)
class BaselineStore:
    """A pool. Each method is one statement."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    @classmethod
    async def open(cls, dsn: str, *, reset: bool) -> "BaselineStore":
        """Open a pool that resets a connection after each statement, as asyncpg's does, or none."""
        more: dict[str, Any] = {} if reset else {"reset": _skip_reset}
        pool = await asyncpg.create_pool(dsn, min_size=POOL_SIZE, max_size=POOL_SIZE, **more)
        await pool.execute(_SCHEMA)
        await pool.execute(_MAKE_CHATS, _CHATS)
        await pool.execute("ANALYZE floor.chats, floor.chat_messages")
        return cls(pool)

    async def send(self, content: str) -> None:
        """Add a message to any chat. One that is busy takes none, and the turn is one of another chat."""
        await self.pool.execute(_SEND, random.randint(1, _CHATS), content)  # noqa: S311

    async def claim(self) -> asyncpg.Record | None:
        return await self.pool.fetchrow(_CLAIM)

    async def history(self, chat: asyncpg.Record) -> list[asyncpg.Record]:
        return await self.pool.fetch(_HISTORY, chat["id"])

    async def finish(self, chat: asyncpg.Record) -> None:
        await self.pool.execute(_FINISH, chat["id"], chat["epoch"], ANSWER)

    async def run_turn(self) -> None:
        await self.send("Which way to the station?")
        chat = await self.claim()
        if chat is not None:
            await self.history(chat)
            await self.finish(chat)


async def _skip_reset(_connection: object) -> None:
    """Skip the reset of the session, as chatd does: it would be one more round trip."""
