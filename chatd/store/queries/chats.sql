-- The moves that callers make.
--
-- Every move locks the chat's row, and does what it does in the same statement. A statement that had
-- to wait for the lock sees the row as it is now, but every other table as it was before the wait;
-- so a move that reads other tables compares the version it saw with the version it locked, and
-- answers 'again' when they differ. So does one that decides by what it locked and not by what it
-- updates: an UPDATE checks the constraints on the row as it saw it before it turns to the newer one.

-- name: create
-- A new chat: pending when its messages ask for an answer, else waiting; no row when it would be
-- pending and the owner has as many in flight as one may have.
-- $1 owner, $2 title, $3 labels, $4 model, $5 messages, $6 asks for an answer, $7 tools,
-- $8 most in flight or null, $9 $10 $11 key, $12 trace
WITH new AS MATERIALIZED (
    SELECT gen_random_uuid() AS id WHERE NOT ($6 AND COALESCE(chat_owner_is_busy($1, $8), false))
), chat AS (
    INSERT INTO chats (id, root_chat_id, owner_id, title, labels, last_model_config_id, tools,
                       status, pending_since, asked_in)
    SELECT new.id, new.id, $1, $2, $3, $4, $7,
           CASE WHEN $6 THEN 'pending' ELSE 'waiting' END,
           CASE WHEN $6 THEN clock_timestamp() END, $12
    FROM new
    RETURNING *
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content, visibility, model_config_id)
    SELECT chat.id, chat.version, m.role, m.content, m.visibility, m.model_config_id
    FROM chat, chat_given_messages($5) m ORDER BY m.n
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'create', chat.status, chat.epoch, jsonb_build_object(
        'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM stored))
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
    FROM chat, event
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $9, $10, $11, id, to_jsonb(answer) FROM answer WHERE $10::text IS NOT NULL
)
SELECT * FROM answer;

-- name: send
-- A message of the user: into history when the chat is at rest, else as `busy` says.
-- $1 chat, $2 owner (null: anybody), $3 content, $4 model or null, $5 busy, $6 longest queue,
-- $7 most in flight or null, $8 $9 $10 key, $11 trace
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), asked AS MATERIALIZED (
    SELECT locked.id, COALESCE($4, locked.last_model_config_id) AS model,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN locked.archived THEN 'archived'
               WHEN locked.status IN ('waiting', 'error') AND chat_owner_is_busy(locked.owner_id, $7)
                   THEN 'in_flight'
               WHEN locked.status = 'waiting' THEN 'append'
               WHEN locked.status = 'error' AND locked.queue_length = 0 THEN 'append'
               WHEN locked.status = 'error' THEN 'rotate'
               WHEN $5 = 'reject' THEN 'busy'
               WHEN $5 = 'interrupt' AND locked.status IN ('pending', 'requires_action') THEN 'append'
               WHEN locked.queue_length >= $6::integer THEN 'full'
               WHEN $5 = 'interrupt' AND locked.status = 'running' THEN 'overtake'
               ELSE 'queue'
           END AS plan
    FROM locked, seen
), head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, asked
    WHERE asked.plan = 'rotate' AND q.chat_id = asked.id
    ORDER BY q.position, q.id LIMIT 1
), taken AS (
    DELETE FROM chat_queued_messages q USING head WHERE q.chat_id = head.chat_id AND q.id = head.id
), queued AS (
    INSERT INTO chat_queued_messages (chat_id, position, content, model_config_id, asked_in)
    SELECT asked.id,
           CASE asked.plan
               WHEN 'overtake' THEN (SELECT COALESCE(min(position), 0) - 1
                                     FROM chat_queued_messages WHERE chat_id = $1)
               ELSE (SELECT COALESCE(max(position), 0) + 1
                     FROM chat_queued_messages WHERE chat_id = $1)
           END, $3, asked.model, $11
    FROM asked WHERE asked.plan IN ('queue', 'overtake', 'rotate')
    RETURNING *
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = true
    FROM asked WHERE asked.plan IN ('append', 'rotate') AND t.chat_id = asked.id AND t.completed_at IS NULL
    RETURNING t.message_id, t.position, t.tool_call_id, t.tool_name
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE asked.plan WHEN 'queue' THEN c.status
                                 WHEN 'overtake' THEN 'interrupting'
                                 ELSE 'pending' END,
        pending_since = CASE WHEN asked.plan IN ('append', 'rotate')
                             THEN COALESCE(c.pending_since, clock_timestamp())
                             ELSE c.pending_since END,
        action_deadline = CASE WHEN asked.plan = 'append' THEN NULL ELSE c.action_deadline END,
        last_error = NULL,
        last_error_detail = NULL,
        queue_length = c.queue_length + CASE WHEN asked.plan IN ('queue', 'overtake') THEN 1 ELSE 0 END,
        asked_in = CASE asked.plan
            WHEN 'append' THEN $11
            WHEN 'rotate' THEN (SELECT asked_in FROM head)
            ELSE c.asked_in END,
        last_model_config_id = CASE asked.plan
            WHEN 'append' THEN asked.model
            WHEN 'rotate' THEN (SELECT model_config_id FROM head)
            ELSE c.last_model_config_id END
    FROM asked
    WHERE c.id = asked.id AND asked.plan IN ('append', 'rotate', 'queue', 'overtake')
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
        SELECT 2, 'user', $3, asked.model FROM asked WHERE asked.plan = 'append'
        UNION ALL
        SELECT 2, 'user', head.content, head.model_config_id FROM head
    ) given ORDER BY given.n
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'send', chat.status, chat.epoch, jsonb_strip_nulls(jsonb_build_object(
        'messages', (SELECT jsonb_agg(id ORDER BY id) FROM stored),
        'queued', (SELECT id FROM queued),
        'promoted', (SELECT id FROM head),
        'head', (SELECT queued.id FROM queued, asked WHERE asked.plan = 'overtake'),
        'queue_length', chat.queue_length))
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT CASE WHEN chat.id IS NOT NULL THEN 'done' ELSE asked.plan END AS outcome, chat.*,
           event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages,
           (SELECT to_jsonb(queued) FROM queued) AS queued
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $8, $9, $10, id, to_jsonb(answer) FROM answer WHERE $9::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;

-- name: interrupt
-- Stop: a running chat is asked to, one that nobody works on stops here and now.
-- $1 chat, $2 owner (null: anybody), $3 $4 $5 key
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), asked AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN locked.status IN ('waiting', 'error', 'interrupting') THEN 'unchanged'
               WHEN locked.status = 'running' THEN 'ask'
               ELSE 'stop'
           END AS plan
    FROM locked, seen
), head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, asked
    WHERE asked.plan = 'stop' AND q.chat_id = asked.id
    ORDER BY q.position, q.id LIMIT 1
), taken AS (
    DELETE FROM chat_queued_messages q USING head WHERE q.chat_id = head.chat_id AND q.id = head.id
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = true
    FROM asked WHERE asked.plan = 'stop' AND t.chat_id = asked.id AND t.completed_at IS NULL
    RETURNING t.message_id, t.position, t.tool_call_id, t.tool_name
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE WHEN asked.plan = 'ask' THEN 'interrupting'
                      WHEN EXISTS (SELECT FROM head) THEN 'pending'
                      ELSE 'waiting' END,
        pending_since = CASE WHEN EXISTS (SELECT FROM head)
                             THEN COALESCE(c.pending_since, clock_timestamp()) END,
        action_deadline = NULL,
        recoveries = CASE WHEN asked.plan = 'ask' THEN c.recoveries ELSE 0 END,
        attempts = CASE WHEN asked.plan = 'ask' THEN c.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN asked.plan = 'ask' THEN c.next_attempt_at END,
        queue_length = c.queue_length - CASE WHEN EXISTS (SELECT FROM head) THEN 1 ELSE 0 END,
        asked_in = CASE WHEN EXISTS (SELECT FROM head) THEN (SELECT asked_in FROM head)
                        ELSE c.asked_in END,
        last_model_config_id = COALESCE((SELECT model_config_id FROM head), c.last_model_config_id)
    FROM asked
    WHERE c.id = asked.id AND asked.plan IN ('ask', 'stop')
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
    SELECT chat.id, chat.version, 'interrupt', chat.status, chat.epoch, jsonb_strip_nulls(jsonb_build_object(
        'messages', (SELECT jsonb_agg(id ORDER BY id) FROM stored),
        'promoted', (SELECT id FROM head),
        'queue_length', chat.queue_length))
    FROM chat
    RETURNING at, data
), now AS (
    SELECT * FROM chat
    UNION ALL
    SELECT locked.* FROM locked, asked WHERE asked.plan = 'unchanged'
), answer AS (
    SELECT CASE WHEN now.id IS NOT NULL THEN 'done' ELSE asked.plan END AS outcome, now.*,
           event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
    FROM asked LEFT JOIN now ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $3, $4, $5, id, to_jsonb(answer) FROM answer WHERE $4::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;

-- name: retry
-- A failed turn again, without a new message. What is queued goes on waiting.
-- $1 chat, $2 owner (null: anybody), $3 most in flight or null, $4 $5 $6 key, $7 trace
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), asked AS MATERIALIZED (
    SELECT locked.id, CASE WHEN locked.version <> seen.version THEN 'again'
                           WHEN locked.status <> 'error' THEN 'not_failed'
                           WHEN locked.archived THEN 'archived'
                           WHEN chat_owner_is_busy(locked.owner_id, $3) THEN 'in_flight'
                           ELSE 'done' END AS outcome
    FROM locked, seen
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = clock_timestamp(),
        asked_in = $7,
        last_error = NULL,
        last_error_detail = NULL
    FROM asked WHERE c.id = asked.id AND asked.outcome = 'done'
    RETURNING c.*
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch)
    SELECT id, version, 'retry', status, epoch FROM chat
    RETURNING at, data
), answer AS (
    SELECT asked.outcome, chat.*, event.at AS event_at, event.data AS event_data,
           NULL::jsonb AS messages
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $4, $5, $6, id, to_jsonb(answer) FROM answer WHERE $5::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;

-- name: describe
-- Title and labels; a null leaves what is there. Never disturbs a running turn.
-- $1 chat, $2 owner (null: anybody), $3 title or null, $4 labels or null, $5 $6 $7 key
WITH chat AS (
    UPDATE chats SET
        version = version + 1,
        updated_at = clock_timestamp(),
        title = COALESCE($3, title),
        labels = COALESCE($4, labels)
    WHERE id = $1 AND owner_id = COALESCE($2, owner_id)
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT id, version, 'describe', status, epoch,
           jsonb_build_object('title', title, 'labels', labels, 'archived', archived)
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
           NULL::jsonb AS messages
    FROM chat, event
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $5, $6, $7, id, to_jsonb(answer) FROM answer WHERE $6::text IS NOT NULL
)
SELECT * FROM answer;

-- name: archive
-- The whole family of a chat, or nothing; the first row is the chat itself, which may get a title and
-- labels with it. Only chats at rest are locked, in the order of their ids: a heartbeat that renews
-- several of the family is not in the way.
-- $1 chat, $2 owner (null: anybody), $3 archive (false: unarchive), $4 title or null,
-- $5 labels or null, $6 $7 $8 key
WITH asked AS MATERIALIZED (
    SELECT root_chat_id FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id)
), family AS MATERIALIZED (
    SELECT count(*) AS size FROM chats c, asked WHERE c.root_chat_id = asked.root_chat_id
), locked AS MATERIALIZED (
    SELECT c.* FROM chats c, asked
    WHERE c.root_chat_id = asked.root_chat_id AND c.status IN ('waiting', 'error')
    ORDER BY c.id FOR NO KEY UPDATE OF c
), plan AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM locked) = family.size THEN 'done' ELSE 'family_busy' END AS outcome
    FROM family, asked
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        archived = $3,
        title = CASE WHEN c.id = $1 THEN COALESCE($4, c.title) ELSE c.title END,
        labels = CASE WHEN c.id = $1 THEN COALESCE($5, c.labels) ELSE c.labels END
    FROM locked, plan
    WHERE c.id = locked.id AND plan.outcome = 'done'
      AND (locked.archived <> $3 OR c.id = $1 AND ($4::text IS NOT NULL OR $5::jsonb IS NOT NULL))
    RETURNING c.*
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT id, version, CASE WHEN $3 THEN 'archive' ELSE 'unarchive' END, status, epoch,
           jsonb_build_object('title', title, 'labels', labels, 'archived', archived)
    FROM chat
    RETURNING chat_id, at, data
), now AS (
    SELECT * FROM chat
    UNION ALL
    SELECT * FROM locked WHERE id = $1 AND NOT EXISTS (SELECT FROM chat WHERE chat.id = $1)
), answer AS (
    SELECT plan.outcome, now.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
    FROM plan LEFT JOIN now ON true LEFT JOIN event ON event.chat_id = now.id
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $6, $7, $8, id, to_jsonb(answer) FROM answer
    WHERE $7::text IS NOT NULL AND outcome = 'done' AND id = $1
)
SELECT * FROM answer ORDER BY id <> $1;

-- name: delete
-- A chat with all that is stored of it, and its descendants. An owner finds nothing to write to; who
-- follows the list finds a tombstone; a repeated request finds its key, and no answer.
-- $1 chat, $2 owner (null: anybody)
WITH RECURSIVE family AS (
    SELECT id FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id)
    UNION ALL
    SELECT c.id FROM chats c JOIN family ON c.parent_chat_id = family.id
), locked AS MATERIALIZED (
    SELECT c.id FROM chats c JOIN family ON family.id = c.id ORDER BY c.id FOR UPDATE OF c
), gone AS (
    DELETE FROM chats c USING locked WHERE c.id = locked.id
    RETURNING c.id, c.owner_id, c.version
), parts AS (
    DELETE FROM chat_parts p USING locked WHERE p.chat_id = locked.id
), answers AS (
    UPDATE idempotency_keys k SET answer = NULL FROM locked WHERE k.chat_id = locked.id
), stones AS (
    INSERT INTO chat_tombstones (owner_id, chat_id) SELECT owner_id, id FROM gone
)
SELECT id, version FROM gone;
