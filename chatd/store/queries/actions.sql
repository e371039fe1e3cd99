-- Tools that the client runs: asking for their results, and taking them.
--
-- A chat has open rows in its ledger when and only when its status is 'requires_action': what asks
-- opens them, and whatever leaves that status closes them, with a result of each in the history.

-- name: require_action
-- Store one step whose tools the client is to run, and let go of the chat until it has. A move of the
-- owner, fenced like the others; what is queued waits on.
-- $1 chat, $2 worker, $3 epoch, $4 step, $5 messages, $6 last part, $7 seconds until it is too late,
-- $8 calls: objects of tool_call_id, tool_name, and message_id (null: of the answer stored here)
WITH chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        step = c.step + 1,
        parts_done = GREATEST($6, c.parts_done + 1),
        status = 'requires_action',
        action_deadline = clock_timestamp() + make_interval(secs => $7),
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL,
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
), opened AS (
    INSERT INTO chat_tool_calls (chat_id, message_id, tool_call_id, tool_name, position, runs_at, epoch)
    SELECT chat.id,
           COALESCE((call->>'message_id')::bigint,
                    (SELECT id FROM stored WHERE role = 'assistant' ORDER BY id LIMIT 1)),
           call->>'tool_call_id', call->>'tool_name', n, 'client', chat.epoch
    FROM chat, jsonb_array_elements($8) WITH ORDINALITY AS given (call, n)
    ON CONFLICT (chat_id, message_id, tool_call_id) DO UPDATE SET completed_at = NULL, is_error = NULL
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT chat.id, chat.version, 'require_action', chat.status, chat.epoch, $2, jsonb_build_object(
        'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM stored),
        'calls', (SELECT jsonb_agg(call - 'message_id' ORDER BY n)
                  FROM jsonb_array_elements($8) WITH ORDINALITY AS given (call, n)),
        'deadline', chat.action_deadline,
        'parts_done', chat.parts_done)
    FROM chat
    RETURNING at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
       (SELECT jsonb_agg(to_jsonb(stored) ORDER BY id) FROM stored) AS messages
FROM chat, event;

-- name: submit_tool_results
-- The client's results of all open calls, no more and no less, as one message in the order of the
-- calls. `named` says which ids are wrong with it.
-- $1 chat, $2 owner (null: anybody), $3 results: objects of tool_call_id, result, is_error,
-- $4 $5 $6 key, $7 trace
WITH seen AS MATERIALIZED (
    SELECT version FROM chats WHERE id = $1
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id) FOR NO KEY UPDATE
), given AS MATERIALIZED (
    SELECT one->>'tool_call_id' AS tool_call_id, one->'result' AS result, one->'is_error' AS is_error, n,
           row_number() OVER (PARTITION BY one->>'tool_call_id' ORDER BY n) AS time
    FROM jsonb_array_elements($3) WITH ORDINALITY AS results (one, n)
), open AS MATERIALIZED (
    SELECT t.* FROM chat_tool_calls t, locked WHERE t.chat_id = locked.id AND t.completed_at IS NULL
), named AS MATERIALIZED (
    SELECT array_agg(g.tool_call_id ORDER BY g.n)
               FILTER (WHERE o.tool_call_id IS NULL OR g.time > 1) AS unknown,
           array_agg(o.tool_call_id ORDER BY o.message_id, o.position)
               FILTER (WHERE g.tool_call_id IS NULL) AS missing
    FROM open o FULL JOIN given g ON g.tool_call_id = o.tool_call_id
), asked AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> seen.version THEN 'again'
               WHEN locked.status <> 'requires_action' THEN 'no_action'
               WHEN named.unknown IS NOT NULL THEN 'call_unknown'
               WHEN named.missing IS NOT NULL THEN 'results_missing'
               ELSE 'done'
           END AS outcome,
           CASE WHEN locked.status = 'requires_action'
                THEN COALESCE(named.unknown, named.missing) END AS named
    FROM locked, seen, named
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = g.is_error::boolean
    FROM asked, given g
    WHERE asked.outcome = 'done' AND t.chat_id = asked.id AND t.completed_at IS NULL
      AND t.tool_call_id = g.tool_call_id
    RETURNING t.message_id, t.position, jsonb_build_object(
        'type', 'tool-result', 'tool_call_id', t.tool_call_id, 'tool_name', t.tool_name,
        'result', g.result, 'is_error', g.is_error) AS part
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = clock_timestamp(),
        action_deadline = NULL,
        asked_in = COALESCE($7, c.asked_in)
    FROM asked
    WHERE c.id = asked.id AND asked.outcome = 'done'
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content)
    SELECT chat.id, chat.version, 'tool',
           (SELECT jsonb_agg(part ORDER BY message_id, position) FROM closed)
    FROM chat
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'submit_tool_results', chat.status, chat.epoch,
           jsonb_build_object('messages', (SELECT jsonb_agg(id) FROM stored))
    FROM chat
    RETURNING at, data
), answer AS (
    SELECT asked.outcome, asked.named, chat.*, event.at AS event_at, event.data AS event_data,
           (SELECT jsonb_agg(to_jsonb(stored)) FROM stored) AS messages
    FROM asked LEFT JOIN chat ON true LEFT JOIN event ON true
), kept AS (
    INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id, answer)
    SELECT $4, $5, $6, id, to_jsonb(answer) FROM answer WHERE $5::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM answer;

-- name: expire_action
-- Chats whose client took too long: their calls are answered for it, and the model goes on. A chat that
-- moved between the snapshot and the lock is left to the next look: its calls may be others by now.
-- $1 most chats
WITH overdue AS MATERIALIZED (
    SELECT id, version FROM chats
    WHERE status = 'requires_action' AND action_deadline < (SELECT clock_timestamp())
    ORDER BY action_deadline LIMIT $1
), due AS MATERIALIZED (
    SELECT c.id FROM chats c JOIN overdue o ON o.id = c.id AND o.version = c.version
    WHERE c.status = 'requires_action'
    FOR NO KEY UPDATE OF c SKIP LOCKED
), closed AS (
    UPDATE chat_tool_calls t SET completed_at = clock_timestamp(), is_error = true
    FROM due WHERE t.chat_id = due.id AND t.completed_at IS NULL
    RETURNING t.chat_id, t.message_id, t.position, jsonb_build_object(
        'type', 'tool-result', 'tool_call_id', t.tool_call_id, 'tool_name', t.tool_name,
        'result', 'timed out', 'is_error', true) AS part
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = clock_timestamp(),
        action_deadline = NULL
    FROM due WHERE c.id = due.id
    RETURNING c.*
), stored AS (
    INSERT INTO chat_messages (chat_id, version, role, content)
    SELECT chat.id, chat.version, 'tool', jsonb_agg(closed.part ORDER BY closed.message_id, closed.position)
    FROM chat JOIN closed ON closed.chat_id = chat.id
    GROUP BY chat.id, chat.version
    RETURNING *
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, data)
    SELECT chat.id, chat.version, 'expire_action', chat.status, chat.epoch, jsonb_build_object(
        'messages', (SELECT COALESCE(jsonb_agg(id), '[]') FROM stored WHERE stored.chat_id = chat.id))
    FROM chat
    RETURNING chat_id, at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
       (SELECT jsonb_agg(to_jsonb(stored)) FROM stored WHERE stored.chat_id = chat.id) AS messages
FROM chat JOIN event ON event.chat_id = chat.id;
