"""A database of many idle chats, filled by SQL: a few of every other kind, and a journal."""

from typing import Final
from uuid import UUID

from chatd.store.connector import Connection

MODEL: Final = UUID(int=1)
UNSERVED_MODEL: Final = UUID(int=2)
"""A model that no worker has."""
WORKER: Final = UUID(int=3)
"""A worker that renews its lease, with 1,000 chats."""
DEAD_WORKER: Final = UUID(int=4)
"""A worker that is not registered, with 1,500 chats."""
ENTRIES_PER_CHAT: Final = 10
_FILL: Final = (
    "SET session_replication_role = replica",  # no foreign keys are checked
    """
INSERT INTO chat_model_configs (id, name, provider, model)
VALUES ('{model}', 'm', 'p', 'm'), ('{unserved}', 'n', 'p', 'n')
""",
    """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since, round, held,
                   recoveries, attempts, next_attempt_at, action_deadline, last_error, worker_id,
                   started_at, heartbeat_at, epoch, version, updated_at)
SELECT id, id, 'owner ' || n % 1000,
       CASE WHEN kind = 'unserved' THEN '{unserved}' ELSE '{model}' END::uuid, status,
       CASE WHEN status = 'pending' THEN now() + CASE WHEN kind = 'deferred' THEN 1 ELSE -1 END
                                                 * interval '1 hour' END,
       n / 500, kind = 'held', CASE WHEN kind = 'suspect' THEN 3 ELSE 0 END,
       CASE WHEN kind = 'deferred' THEN 1 ELSE 0 END,
       CASE WHEN kind = 'deferred' THEN now() + interval '1 hour' END,
       CASE WHEN status = 'requires_action' THEN now() - interval '1 minute' END,
       CASE WHEN status = 'error' THEN 'x' END,
       CASE WHEN kind = 'leased' THEN '{worker}' WHEN kind IN ('dead', 'orphan') THEN '{dead}' END::uuid,
       CASE WHEN status IN ('running', 'interrupting') THEN now() - interval '1 minute' END,
       CASE WHEN status IN ('running', 'interrupting') THEN now() - interval '1 minute' END,
       1, {entries}, now() - random() * interval '60 days'
FROM (
    SELECT n, gen_random_uuid() AS id, kind,
           CASE kind WHEN 'line' THEN 'pending' WHEN 'deferred' THEN 'pending'
                     WHEN 'held' THEN 'pending' WHEN 'suspect' THEN 'pending'
                     WHEN 'unserved' THEN 'pending' WHEN 'leased' THEN 'running'
                     WHEN 'dead' THEN 'running' WHEN 'orphan' THEN 'interrupting'
                     WHEN 'overdue' THEN 'requires_action' WHEN 'failed' THEN 'error'
                     ELSE 'waiting' END AS status
    FROM (
        SELECT n, CASE WHEN n <= 5000 THEN 'line' WHEN n <= 10000 THEN 'deferred'
                       WHEN n <= 15000 THEN 'held' WHEN n <= 16000 THEN 'suspect'
                       WHEN n <= 17000 THEN 'leased' WHEN n <= 18000 THEN 'dead'
                       WHEN n <= 18500 THEN 'orphan' WHEN n <= 19000 THEN 'overdue'
                       WHEN n <= 20000 THEN 'failed' WHEN n <= 20500 THEN 'unserved'
                       ELSE 'idle' END AS kind
        FROM generate_series(1, {chats}) n
    ) kinds
) made
""",
    """
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT id, chat_message_id(1, 1), 1, 'assistant',
       '[{{"type": "tool-call", "tool_call_id": "c", "tool_name": "t", "arguments": {{}}}}]'
FROM chats WHERE status = 'requires_action'
""",
    """
INSERT INTO chat_tool_calls (chat_id, message_id, tool_call_id, tool_name, executor, state, epoch)
SELECT id, chat_message_id(1, 1), 'c', 't', 'client', 'asked', 1
FROM chats WHERE status = 'requires_action'
""",
    """
INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)
SELECT id, 1, k * 2 + 1, k * 2 + 2,
       '[{{"type": "text", "text": "a", "index": 0}}, {{"type": "text", "text": "b", "index": 0}}]'
FROM chats, generate_series(0, 9) k WHERE worker_id IS NOT NULL
""",
    """
INSERT INTO chat_tombstones (owner_id, chat_id, deleted_at)
SELECT 'owner ' || n % 1000, gen_random_uuid(), now() - n % 14 * interval '1 day'
FROM generate_series(1, {chats} / 10) n
""",
    """
INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, created_at)
SELECT 'owner ' || n % 1000, n::text, 'x', gen_random_uuid(), now() - n % 48 * interval '1 hour'
FROM generate_series(1, {chats} / 10) n
""",
    """
INSERT INTO api_tokens (owner_id, hash)
SELECT 'owner ' || n, sha256(n::text::bytea) FROM generate_series(1, {chats} / 10) n
""",
)
_JOURNAL: Final = """
INSERT INTO chat_events (chat_id, version, created_at, transition, status, epoch)
SELECT id, $1::bigint, now() - ({entries} - $1::bigint) * interval '1 day', 'finish_turn', 'waiting', 1
FROM chats
"""
"""One entry of every chat, so that those of one chat are far apart."""


async def fill(connection: Connection, *, chats: int) -> None:
    """Fill an empty database. It takes minutes for a million chats."""
    values = {
        "chats": chats,
        "entries": ENTRIES_PER_CHAT,
        "model": MODEL,
        "unserved": UNSERVED_MODEL,
        "worker": WORKER,
        "dead": DEAD_WORKER,
    }
    for statement in _FILL:
        await connection.execute(statement.format(**values))
    for version in range(1, ENTRIES_PER_CHAT + 1):
        await connection.execute(_JOURNAL.format(**values), version)
    await connection.execute("SET session_replication_role = origin")
    await connection.execute("VACUUM ANALYZE")
