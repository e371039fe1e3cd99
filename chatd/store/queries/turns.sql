-- The moves that an owner makes. Each says whose it is (chat, worker, epoch) and which step it
-- stores; no row means that the chat is no longer this owner's, and that nothing was written.
--
-- Every move that ends a step, well or badly, moves `parts_done` on by at least one, also when nothing
-- was streamed: so (epoch, parts_done) names one try of one step, and nobody takes the parts of the
-- next for parts of this one.

-- name: history
-- What the model is shown, oldest first.
-- $1 chat
SELECT chat_id, id, version, role, content, model_config_id, finish_reason, input_tokens,
       output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, created_at
FROM chat_messages
WHERE chat_id = $1 AND superseded_version IS NULL AND NOT compressed AND visibility <> 'user'
ORDER BY id;

-- name: standing
-- What became of a chat whose owner did not hear the answer to its last statement.
-- $1 chat
SELECT * FROM chats WHERE id = $1;

-- name: fate
-- How an owner lost its chat: the last move of others that ends an ownership, of this epoch or the one
-- that an edit gave; null when none did, or when the chat is not there any more.
-- $1 chat, $2 epoch
SELECT EXISTS (SELECT FROM chats WHERE id = $1) AS there,
       (SELECT move FROM chat_events
        WHERE chat_id = $1 AND epoch BETWEEN $2 AND $2 + 1
          AND move IN ('edit', 'reap', 'reap_interrupt')
        ORDER BY version DESC LIMIT 1) AS move;

-- name: commit_step
-- Store one step of a running turn and go on: progress, so retries and recoveries start afresh.
-- $1 chat, $2 worker, $3 epoch, $4 step, $5 messages, $6 last part
WITH chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        step = c.step + 1,
        parts_done = GREATEST($6, c.parts_done + 1),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        input_tokens = c.input_tokens + used.input_tokens,
        output_tokens = c.output_tokens + used.output_tokens,
        cache_read_tokens = c.cache_read_tokens + used.cache_read_tokens,
        cache_write_tokens = c.cache_write_tokens + used.cache_write_tokens,
        reasoning_tokens = c.reasoning_tokens + used.reasoning_tokens
    FROM (
        SELECT COALESCE(sum(input_tokens), 0) AS input_tokens,
               COALESCE(sum(output_tokens), 0) AS output_tokens,
               COALESCE(sum(cache_read_tokens), 0) AS cache_read_tokens,
               COALESCE(sum(cache_write_tokens), 0) AS cache_write_tokens,
               COALESCE(sum(reasoning_tokens), 0) AS reasoning_tokens
        FROM chat_given_messages($5)
    ) used
    WHERE c.id = $1 AND c.worker_id = $2 AND c.epoch = $3 AND c.step = $4 AND c.status = 'running'
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content, visibility, model_config_id,
                               finish_reason, input_tokens, output_tokens, cache_read_tokens,
                               cache_write_tokens, reasoning_tokens)
    SELECT chat.id, chat.version, m.role, m.content, m.visibility, m.model_config_id,
           m.finish_reason, m.input_tokens, m.output_tokens, m.cache_read_tokens,
           m.cache_write_tokens, m.reasoning_tokens
    FROM chat, chat_given_messages($5) m ORDER BY m.n
    RETURNING *
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, 'commit_step', chat.status, chat.epoch, chat.worker_id,
           jsonb_build_object(
               'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM stored),
               'parts_done', chat.parts_done)
    FROM chat
    RETURNING at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
       (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
FROM chat, event;

-- name: finish
-- Store the last step and end the turn, in one. The head of the queue, if there is one, becomes the
-- next turn: of the same owner ($9 true), or of whoever claims it.
-- $1 chat, $2 worker, $3 epoch, $4 step, $5 messages, $6 last part, $7 move, $8 status it ends, $9 keep
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT id, version FROM chats
    WHERE id = $1 AND worker_id = $2 AND epoch = $3 AND step = $4 AND status = $8
    FOR NO KEY UPDATE
), asked AS MATERIALIZED (
    SELECT locked.id, CASE WHEN locked.version <> seen.version THEN 'again' ELSE 'done' END AS outcome
    FROM locked, seen
), head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, asked
    WHERE asked.outcome = 'done' AND q.chat_id = asked.id
    ORDER BY q.position, q.id LIMIT 1
), taken AS (
    DELETE FROM chat_queued_messages q USING head WHERE q.chat_id = head.chat_id AND q.id = head.id
), next AS MATERIALIZED (
    SELECT CASE WHEN NOT EXISTS (SELECT FROM head) THEN 'waiting'
                WHEN $9 THEN 'running'
                ELSE 'pending' END AS status,
           EXISTS (SELECT FROM head) AND $9 AS kept
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        step = c.step + 1,
        parts_done = GREATEST($6, c.parts_done + 1),
        status = next.status,
        worker_id = CASE WHEN next.kept THEN c.worker_id END,
        started_at = CASE WHEN next.kept THEN c.started_at END,
        heartbeat_at = CASE WHEN next.kept THEN c.heartbeat_at END,
        pending_since = CASE WHEN next.status = 'pending' THEN clock_timestamp() END,
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        queue_length = c.queue_length - CASE WHEN next.status = 'waiting' THEN 0 ELSE 1 END,
        asked_in = CASE WHEN EXISTS (SELECT FROM head) THEN (SELECT asked_in FROM head)
                        ELSE c.asked_in END,
        last_model_config_id = COALESCE((SELECT model_config_id FROM head), c.last_model_config_id),
        input_tokens = c.input_tokens + used.input_tokens,
        output_tokens = c.output_tokens + used.output_tokens,
        cache_read_tokens = c.cache_read_tokens + used.cache_read_tokens,
        cache_write_tokens = c.cache_write_tokens + used.cache_write_tokens,
        reasoning_tokens = c.reasoning_tokens + used.reasoning_tokens
    FROM asked, next, (
        SELECT COALESCE(sum(input_tokens), 0) AS input_tokens,
               COALESCE(sum(output_tokens), 0) AS output_tokens,
               COALESCE(sum(cache_read_tokens), 0) AS cache_read_tokens,
               COALESCE(sum(cache_write_tokens), 0) AS cache_write_tokens,
               COALESCE(sum(reasoning_tokens), 0) AS reasoning_tokens
        FROM chat_given_messages($5)
    ) used
    WHERE c.id = asked.id AND asked.outcome = 'done'
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content, visibility, model_config_id,
                               finish_reason, input_tokens, output_tokens, cache_read_tokens,
                               cache_write_tokens, reasoning_tokens)
    SELECT chat.id, chat.version, m.role, m.content, m.visibility, m.model_config_id,
           m.finish_reason, m.input_tokens, m.output_tokens, m.cache_read_tokens,
           m.cache_write_tokens, m.reasoning_tokens
    FROM chat, (
        SELECT * FROM chat_given_messages($5)
        UNION ALL
        SELECT 1000000, 'user', head.content, 'both', head.model_config_id,
               NULL, NULL, NULL, NULL, NULL, NULL
        FROM head
    ) m ORDER BY m.n
    RETURNING *
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, $7, chat.status, chat.epoch, $2,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id ORDER BY id) FROM stored),
               'promoted', (SELECT id FROM head),
               'parts_done', chat.parts_done,
               'queue_length', chat.queue_length))
    FROM chat
    RETURNING at, data
)
SELECT asked.outcome, chat.*, event.at AS event_at, event.data AS event_data,
       (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true;

-- name: record_retry
-- The step failed and will be tried again: how often, and when, must outlive this owner.
-- $1 chat, $2 worker, $3 epoch, $4 step, $5 attempts so far, $6 seconds until the next, $7 last part,
-- $8 failure
WITH chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        parts_done = GREATEST($7, c.parts_done + 1),
        attempts = $5,
        next_attempt_at = clock_timestamp() + make_interval(secs => $6)
    WHERE c.id = $1 AND c.worker_id = $2 AND c.epoch = $3 AND c.step = $4 AND c.status = 'running'
      AND c.attempts = $5 - 1
    RETURNING c.*
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, 'record_retry', chat.status, chat.epoch, chat.worker_id,
           jsonb_build_object('attempt', $5::integer, 'delay_seconds', $6::float8,
                              'next_attempt_at', chat.next_attempt_at, 'parts_done', chat.parts_done,
                              'failure', $8::jsonb)
    FROM chat
    RETURNING at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
FROM chat, event;

-- name: fail
-- The turn cannot succeed: keep the reason. What was queued stays queued.
-- $1 chat, $2 worker, $3 epoch, $4 step, $5 reason, $6 detail, $7 last part
WITH chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'error',
        last_error = $5,
        last_error_detail = $6,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL,
        parts_done = GREATEST($7, c.parts_done + 1),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL
    WHERE c.id = $1 AND c.worker_id = $2 AND c.epoch = $3 AND c.step = $4 AND c.status = 'running'
    RETURNING c.*
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, 'fail', chat.status, chat.epoch, $2,
           jsonb_build_object('last_error', chat.last_error, 'last_error_detail', chat.last_error_detail,
                              'parts_done', chat.parts_done)
    FROM chat
    RETURNING at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
FROM chat, event;

-- name: release
-- Give a chat back, unharmed: it costs no attempt, leaves no error, and keeps its place in the line.
-- $1 chat, $2 worker, $3 epoch, $4 why
WITH chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = c.started_at,
        parts_done = c.parts_done + 1,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    WHERE c.id = $1 AND c.worker_id = $2 AND c.epoch = $3 AND c.status = 'running'
    RETURNING c.*
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, 'release', chat.status, chat.epoch, $2,
           jsonb_build_object('why', $4::text, 'parts_done', chat.parts_done)
    FROM chat
    RETURNING at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
FROM chat, event;
