-- The moves that change a chat's history. What they take out of it is superseded: kept, and hidden.

-- name: edit
-- A message of the user said differently: it and all that came after it are superseded, the queue is
-- dropped, and the chat is to be answered anew. The epoch moves on, so whoever works on it is fenced.
-- $1 chat, $2 owner (null: anybody), $3 message, $4 content,
-- $5 most in flight or null, $6 $7 $8 key, $9 trace
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), said AS MATERIALIZED (
    SELECT role FROM chat_messages
    WHERE chat_id = $1 AND id = $3 AND superseded_version IS NULL AND visibility <> 'model'
), asked AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN NOT EXISTS (SELECT FROM said) THEN 'no_message'
               WHEN (SELECT role FROM said) <> 'user' THEN 'not_users'
               WHEN locked.archived THEN 'archived'
               WHEN locked.status IN ('waiting', 'error') AND chat_owner_is_busy(locked.owner_id, $5)
                   THEN 'in_flight'
               ELSE 'done'
           END AS outcome
    FROM locked, seen
), superseded AS (
    UPDATE chat_messages m SET superseded_version = locked.version + 1
    FROM asked, locked
    WHERE asked.outcome = 'done' AND m.chat_id = asked.id AND m.id >= $3
      AND m.superseded_version IS NULL
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = true
    FROM asked WHERE asked.outcome = 'done' AND t.chat_id = asked.id AND t.completed_at IS NULL
), dropped AS (
    DELETE FROM chat_queued_messages q USING asked
    WHERE asked.outcome = 'done' AND q.chat_id = asked.id
    RETURNING q.id
), cleared AS (
    DELETE FROM chat_parts p USING asked WHERE asked.outcome = 'done' AND p.chat_id = asked.id
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = COALESCE(c.pending_since, clock_timestamp()),
        epoch = c.epoch + 1,
        parts_done = 0,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL,
        action_deadline = NULL,
        asked_in = $9,
        last_error = NULL,
        last_error_detail = NULL,
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        queue_length = 0
    FROM asked WHERE c.id = asked.id AND asked.outcome = 'done'
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content, model_config_id)
    SELECT id, version, 'user', $4, last_model_config_id FROM chat
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'edit', chat.status, chat.epoch, jsonb_strip_nulls(jsonb_build_object(
        'reset_from', $3::bigint,
        'messages', (SELECT jsonb_agg(id) FROM stored),
        'unqueued', (SELECT jsonb_agg(id ORDER BY id) FROM dropped),
        'queue_length', chat.queue_length))
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT asked.outcome, chat.*, event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored)) FROM stored) AS messages
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $6, $7, $8, id, to_jsonb(answer) FROM answer WHERE $7::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;

-- name: clear
-- Start over, with the system prompt and nothing else.
-- $1 chat, $2 owner (null: anybody), $3 $4 $5 key
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), asked AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN locked.archived THEN 'archived'
               WHEN locked.status NOT IN ('waiting', 'error') THEN 'busy'
               ELSE 'done'
           END AS outcome
    FROM locked, seen
), superseded AS (
    UPDATE chat_messages m SET superseded_version = locked.version + 1
    FROM asked, locked
    WHERE asked.outcome = 'done' AND m.chat_id = asked.id AND m.role <> 'system'
      AND m.superseded_version IS NULL
    RETURNING m.id
), dropped AS (
    DELETE FROM chat_queued_messages q USING asked
    WHERE asked.outcome = 'done' AND q.chat_id = asked.id
    RETURNING q.id
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'waiting',
        last_error = NULL,
        last_error_detail = NULL,
        queue_length = 0
    FROM asked WHERE c.id = asked.id AND asked.outcome = 'done'
    RETURNING c.*
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'clear', chat.status, chat.epoch, jsonb_strip_nulls(jsonb_build_object(
        'reset_from', (SELECT min(id) FROM superseded),
        'unqueued', (SELECT jsonb_agg(id ORDER BY id) FROM dropped),
        'queue_length', chat.queue_length))
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT asked.outcome, chat.*, event.at AS event_at, event.data AS event_data,
           NULL::jsonb AS messages
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $3, $4, $5, id, to_jsonb(answer) FROM answer WHERE $4::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;
