-- The moves that change a chat's queue by hand.

-- name: unqueue
-- A message that was not said after all.
-- $1 chat, $2 owner (null: anybody), $3 queued message
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), taken AS (
    DELETE FROM chat_queued_messages q USING locked, seen
    WHERE locked.version = seen.version AND q.chat_id = locked.id AND q.id = $3
    RETURNING q.id
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        queue_length = c.queue_length - 1
    FROM taken WHERE c.id = $1
    RETURNING c.*
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT id, version, 'unqueue', status, epoch, jsonb_build_object(
        'unqueued', jsonb_build_array($3::bigint), 'queue_length', queue_length)
    FROM chat
    RETURNING at, data
)
SELECT CASE WHEN locked.version <> seen.version THEN 'again'
            WHEN chat.id IS NULL THEN 'no_queued'
            ELSE 'done' END AS outcome,
       chat.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
FROM locked CROSS JOIN seen LEFT JOIN chat ON true LEFT JOIN event ON true;

-- name: promote
-- A queued message next: it stops what is running, or enters the history of a chat that nobody works
-- on and that waits for somebody; in one that is pending or stopping it comes first.
-- $1 chat, $2 owner (null: anybody), $3 queued message, $4 most in flight or null,
-- $5 $6 $7 key
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), chosen AS MATERIALIZED (
    SELECT * FROM chat_queued_messages WHERE chat_id = $1 AND id = $3
), asked AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN NOT EXISTS (SELECT FROM chosen) THEN 'no_queued'
               WHEN locked.archived THEN 'archived'
               WHEN locked.status = 'error' AND chat_owner_is_busy(locked.owner_id, $4) THEN 'in_flight'
               WHEN locked.status IN ('error', 'requires_action') THEN 'say'
               WHEN locked.status = 'running' THEN 'overtake'
               ELSE 'bring'
           END AS plan
    FROM locked, seen
), head AS MATERIALIZED (
    SELECT chosen.* FROM chosen, asked WHERE asked.plan = 'say'
), taken AS (
    DELETE FROM chat_queued_messages q USING head WHERE q.chat_id = head.chat_id AND q.id = head.id
), brought AS (
    UPDATE chat_queued_messages q SET position = first.position - 1
    FROM asked, (SELECT min(position) AS position FROM chat_queued_messages WHERE chat_id = $1) first
    WHERE asked.plan IN ('overtake', 'bring') AND q.chat_id = asked.id AND q.id = $3
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = true
    FROM asked WHERE asked.plan = 'say' AND t.chat_id = asked.id AND t.completed_at IS NULL
    RETURNING t.message_id, t.position, t.tool_call_id, t.tool_name
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE asked.plan WHEN 'say' THEN 'pending'
                                 WHEN 'overtake' THEN 'interrupting'
                                 ELSE c.status END,
        pending_since = CASE WHEN asked.plan = 'say' THEN clock_timestamp() ELSE c.pending_since END,
        action_deadline = NULL,
        last_error = NULL,
        last_error_detail = NULL,
        queue_length = c.queue_length - CASE WHEN asked.plan = 'say' THEN 1 ELSE 0 END,
        asked_in = CASE WHEN EXISTS (SELECT FROM head) THEN (SELECT asked_in FROM head)
                        ELSE c.asked_in END,
        last_model_config_id = COALESCE((SELECT model_config_id FROM head), c.last_model_config_id)
    FROM asked WHERE c.id = asked.id AND asked.plan IN ('say', 'overtake', 'bring')
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content, model_config_id)
    SELECT chat.id, chat.version, given.role, given.content, given.model
    FROM chat, (
        SELECT 1 AS n, 'tool' AS role, jsonb_agg(jsonb_build_object(
                   'type', 'tool-result', 'tool_call_id', tool_call_id, 'tool_name', tool_name,
                   'result', 'cancelled', 'is_error', true) ORDER BY message_id, position) AS content, NULL::uuid AS model
        FROM closed HAVING count(*) > 0
        UNION ALL
        SELECT 2, 'user', head.content, head.model_config_id FROM head
    ) given ORDER BY given.n
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'promote', chat.status, chat.epoch, jsonb_strip_nulls(jsonb_build_object(
        'messages', (SELECT jsonb_agg(id ORDER BY id) FROM stored),
        'promoted', (SELECT id FROM head),
        'head', CASE WHEN asked.plan <> 'say' THEN $3::bigint END,
        'queue_length', chat.queue_length))
    FROM chat, asked
    RETURNING at, data
), answer AS (
    SELECT CASE WHEN chat.id IS NOT NULL THEN 'done' ELSE asked.plan END AS outcome, chat.*,
           event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $5, $6, $7, id, to_jsonb(answer) FROM answer WHERE $6::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;
