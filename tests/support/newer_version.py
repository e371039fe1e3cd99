"""What a newer version of chatd does to a database that processes of this one share.

Its schema has a status, a transition, a role, a type of part and an event that this version has never heard
of, as in the middle of a rolling upgrade.
"""

from uuid import UUID

import asyncpg

MIGRATION = """
ALTER TABLE chats DROP CONSTRAINT chats_status_known, DROP CONSTRAINT chats_lease_columns,
    ADD COLUMN paused_until timestamptz;
ALTER TABLE chats ADD CONSTRAINT chats_paused CHECK ((status = 'paused') = (paused_until IS NOT NULL));
ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_role_check,
    DROP CONSTRAINT chat_messages_visibility_check;
"""
"""A migration that only adds words and columns, as expand-and-contract demands."""

_PAUSE = """
WITH paused AS (
    UPDATE chats SET version = version + 1, updated_at = clock_timestamp(), status = 'paused',
        pending_since = NULL, paused_until = 'infinity', worker_id = $2, settled_part = settled_part + 1,
        started_at = clock_timestamp() - interval '1 hour',
        heartbeat_at = clock_timestamp() - interval '1 hour'
    WHERE id = $1 RETURNING *
), message AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, finish_reason)
    SELECT id, chat_message_id(version, 1), version, 'critic',
           '[{"type": "text", "text": "Doubtful."}, {"type": "diagram", "svg": []}]', 'criticized'
    FROM paused RETURNING id
)
INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
SELECT paused.id, version, 'pause', status, epoch, jsonb_build_object(
    'messages', jsonb_build_array(message.id), 'settled_part', settled_part,
    'children', '[{"id": 1}]'::jsonb, 'paused_until', paused_until)
FROM paused, message RETURNING version
"""
_RESUME = """
WITH resumed AS (
    UPDATE chats SET version = version + 1, updated_at = clock_timestamp(), status = 'pending',
        pending_since = clock_timestamp(), paused_until = NULL, worker_id = NULL, started_at = NULL,
        heartbeat_at = NULL
    WHERE id = $1 RETURNING *
)
INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
SELECT id, version, 'resume', status, epoch, '{}' FROM resumed RETURNING version
"""
SENDER = UUID(int=9)


class NewerVersion:
    """A process of a newer version, as far as others notice it: its rows and its hints."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def migrate(self) -> None:
        """Migrate the schema, as ``chatd migrate up`` of the newer version does."""
        await self.connection.execute(MIGRATION)

    async def pause(self, chat_id: str) -> None:
        """Bring a chat into a status that only this version knows, with a worker that is long silent."""
        version = await self.connection.fetchval(_PAUSE, UUID(chat_id), SENDER)
        await self._notify(f"{SENDER} {chat_id} {version} paused")

    async def resume(self, chat_id: str) -> None:
        """Give the chat back, by a transition that only this version knows."""
        version = await self.connection.fetchval(_RESUME, UUID(chat_id))
        await self._notify(f"{SENDER} {chat_id} {version} pending")

    async def notify_in_a_new_form(self, chat_id: str) -> None:
        """Send a hint of another form."""
        await self._notify(f"v2 {SENDER} {chat_id}")

    async def _notify(self, payload: str) -> None:
        await self.connection.execute("SELECT pg_notify('chatd', $1)", payload)
