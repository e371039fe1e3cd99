-- The ledger of tool calls: asking the client for results, receiving them, and storing those of the
-- server's own tools.
--
-- A chat has open rows in chat_tool_calls only while it is busy. The statement that stores a
-- message with calls opens them (`require_action`, turns.commit_step), and the one that closes the
-- last of them stores the message with the results of all. A chat in 'requires_action' has calls
-- that are asked of the client, and none that was started and has no result.

-- name: require_action
-- Store one step whose tools the client is to run, and give up the lease until it has. Fenced by
-- worker, epoch and step like the transitions of turns.sql. Queued messages stay in the queue.
-- `:calls` are the tool calls of the message, as of chat_tool_call_rows. Those that are in the
-- ledger already are as they were. The journal has the arguments of a call (`args`) only if its
-- message is older than the entry. Else they are in the message.
WITH updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        status = 'requires_action',
        action_deadline = clock_timestamp() + make_interval(secs => :timeout_seconds),
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL,
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        turn_deadline_at = NULL,
        input_tokens = c.input_tokens + used.input_tokens,
        output_tokens = c.output_tokens + used.output_tokens,
        cache_read_tokens = c.cache_read_tokens + used.cache_read_tokens,
        cache_write_tokens = c.cache_write_tokens + used.cache_write_tokens,
        reasoning_tokens = c.reasoning_tokens + used.reasoning_tokens,
        stored_bytes = c.stored_bytes + pg_column_size(:messages::jsonb)
            + chat_new_file_bytes(c.id, :file_ids, :file_data)
    FROM chat_messages_usage(:messages) used
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.committed_steps = :step AND c.status = 'running'
    RETURNING c.*
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, model_config_id,
                               finish_reason, input_tokens, output_tokens, cache_read_tokens,
                               cache_write_tokens, reasoning_tokens)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.visibility, m.model_config_id, m.finish_reason, m.input_tokens, m.output_tokens,
           m.cache_read_tokens, m.cache_write_tokens, m.reasoning_tokens
    FROM updated, chat_message_rows(:messages) m
    RETURNING *
), opened_calls AS (
    INSERT INTO chat_tool_calls (chat_id, message_id, tool_call_id, tool_name, position, executor,
                                 policy, state, tries, epoch, completed_at, is_error, answer)
    SELECT updated.id,
           COALESCE(call.message_id,
                    (SELECT id FROM inserted WHERE role = 'assistant' ORDER BY id LIMIT 1)),
           call.tool_call_id, call.tool_name, call.n, call.executor, call.policy, call.state,
           call.tries, updated.epoch, call.completed_at, call.is_error, call.answer
    FROM updated, chat_tool_call_rows(:calls) call
    ON CONFLICT (chat_id, message_id, tool_call_id) DO UPDATE SET
        executor = excluded.executor, policy = excluded.policy, state = excluded.state,
        tries = excluded.tries, epoch = excluded.epoch, completed_at = excluded.completed_at,
        is_error = excluded.is_error, answer = excluded.answer
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'require_action', updated.status, updated.epoch, :worker_id,
           jsonb_build_object(
               'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM inserted),
               'calls', (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                             'tool_call_id', call->'tool_call_id', 'tool_name', call->'tool_name',
                             'args', call->'args')) ORDER BY n)
                         FROM jsonb_array_elements(:calls) WITH ORDINALITY AS input (call, n)
                         WHERE call->>'state' = 'asked'),
               'deadline', updated.action_deadline,
               'settled_part', updated.settled_part) || :notices::jsonb
    FROM updated
    RETURNING created_at, data
), admitted AS MATERIALIZED (
    SELECT held.id, held.version FROM updated, chat_admit(updated.owner_id, :limits) held
    WHERE held.version IS NOT NULL
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages,
       admitted.id AS admitted_id, admitted.version AS admitted_version
FROM updated CROSS JOIN journal_entry LEFT JOIN admitted ON true;

-- name: close_calls
-- Store results of started calls, and start further ones. The result of the last open call also
-- stores the message with the results of all, which is a step and progress.
--
-- `:results` are objects of tool_call_id, result, is_error. Calls of `:start_ids` may start if they
-- are ready, or idempotent and started by an earlier worker. What an earlier try of this statement
-- did is not done again: then nothing changes, and there is no journal entry. About 'stale', see
-- chats.sql.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats
    WHERE id = :chat_id AND worker_id = :worker_id AND epoch = :epoch
      AND committed_steps = :step AND status = 'running'
    FOR NO KEY UPDATE
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE WHEN locked.version <> snapshot.version THEN 'stale' ELSE 'done' END AS outcome
    FROM locked, snapshot
), open_calls AS MATERIALIZED (
    SELECT t.*, given.item->'is_error' AS given_error FROM decision
    JOIN chat_tool_calls t ON t.chat_id = decision.id AND t.completed_at IS NULL
    LEFT JOIN jsonb_array_elements(:results) AS given (item)
        ON given.item->>'tool_call_id' = t.tool_call_id
    WHERE decision.outcome = 'done'
), started AS (
    UPDATE chat_tool_calls t SET
        state = 'started',
        tries = t.tries + 1,
        epoch = :epoch,
        started_at = clock_timestamp()
    FROM open_calls o
    WHERE o.chat_id = t.chat_id AND o.message_id = t.message_id
      AND o.tool_call_id = t.tool_call_id AND t.tool_call_id = ANY(:start_ids::text[])
      AND (t.state = 'ready'
           OR t.state = 'started' AND t.policy = 'idempotent' AND t.epoch < :epoch)
    RETURNING t.*
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, :results, '{}') AS content FROM decision
    WHERE EXISTS (SELECT FROM open_calls WHERE given_error IS NOT NULL)
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = CASE WHEN content IS NULL THEN c.updated_at ELSE clock_timestamp() END,
        committed_steps = c.committed_steps + (content IS NOT NULL)::integer,
        recoveries = CASE WHEN content IS NULL THEN c.recoveries ELSE 0 END,
        settled_part = CASE WHEN content IS NULL THEN c.settled_part
                            ELSE GREATEST(:settled_part, c.settled_part + 1) END,
        attempts = CASE WHEN content IS NULL THEN c.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN content IS NULL THEN c.next_attempt_at END,
        stored_bytes = c.stored_bytes + COALESCE(pg_column_size(content), 0)
            + chat_new_output_bytes(c.id, :results)
            + chat_new_file_bytes(c.id, :file_ids, :file_data)
    FROM decision LEFT JOIN closed_calls ON true
    WHERE c.id = decision.id
      AND (EXISTS (SELECT FROM closed_calls) OR EXISTS (SELECT FROM started))
    RETURNING c.*
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated, closed_calls WHERE content IS NOT NULL
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated, closed_calls
    WHERE p.chat_id = updated.id AND content IS NOT NULL
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'close_calls', updated.status, updated.epoch,
           updated.worker_id,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id) FROM inserted),
               'settled_part', (SELECT updated.settled_part FROM closed_calls
                                WHERE content IS NOT NULL),
               'closed', (SELECT jsonb_agg(jsonb_build_object(
                              'tool_call_id', tool_call_id, 'tool_name', tool_name,
                              'is_error', given_error) ORDER BY position)
                          FROM open_calls WHERE given_error IS NOT NULL),
               'started', (SELECT jsonb_agg(tool_call_id ORDER BY position) FROM started)))
    FROM updated
    RETURNING created_at, data
), chat AS (
    SELECT * FROM updated
    UNION ALL
    SELECT * FROM locked WHERE NOT EXISTS (SELECT FROM updated)
)
SELECT decision.outcome, chat_columns(chat),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted) AS messages,
       (SELECT jsonb_agg(call ORDER BY call->'position') FROM (
            SELECT to_jsonb(started) AS call FROM started
            UNION ALL
            SELECT to_jsonb(o) FROM open_calls o
            WHERE o.given_error IS NULL
              AND NOT EXISTS (SELECT FROM started s WHERE s.tool_call_id = o.tool_call_id)
        ) still_open) AS ledger
FROM decision JOIN chat ON true LEFT JOIN journal_entry ON true;

-- name: submit_tool_results
-- Store the client's results as one message, in the order of the calls, and make the chat pending.
-- There must be one result for each open call and no other; else `tool_call_ids` are the calls at
-- fault. `:results` are objects of tool_call_id, result, is_error. About 'stale' and the claim, see
-- chats.sql.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), input AS MATERIALIZED (
    SELECT item->>'tool_call_id' AS tool_call_id, item->'result' AS result,
           (item->'is_error')::boolean AS is_error, n,
           row_number() OVER (PARTITION BY item->>'tool_call_id' ORDER BY n) AS occurrence
    FROM jsonb_array_elements(:results) WITH ORDINALITY AS results (item, n)
), open_calls AS MATERIALIZED (
    SELECT t.* FROM chat_tool_calls t, locked
    WHERE t.chat_id = locked.id AND t.state = 'asked' AND t.completed_at IS NULL
), mismatches AS MATERIALIZED (
    SELECT array_agg(i.tool_call_id ORDER BY i.n)
               FILTER (WHERE o.tool_call_id IS NULL OR i.occurrence > 1) AS unknown,
           array_agg(o.tool_call_id ORDER BY o.message_id, o.position)
               FILTER (WHERE i.tool_call_id IS NULL) AS missing
    FROM open_calls o FULL JOIN input i ON i.tool_call_id = o.tool_call_id
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN locked.status <> 'requires_action' THEN 'no_action_required'
               WHEN mismatches.unknown IS NOT NULL THEN 'tool_call_unknown'
               WHEN mismatches.missing IS NOT NULL THEN 'tool_results_missing'
               ELSE COALESCE(chat_bytes_refusal(locked.owner_id, :limits, locked.stored_bytes,
                                                pg_column_size(:results::jsonb)), 'done')
           END AS outcome,
           CASE WHEN locked.status = 'requires_action'
                THEN COALESCE(mismatches.unknown, mismatches.missing) END AS tool_call_ids
    FROM locked, snapshot, mismatches
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, :results, '{}') AS content FROM decision
    WHERE decision.outcome = 'done'
), pending AS MATERIALIZED (
    SELECT held, NOT held AND model_config_id = ANY(:models::uuid[]) AS claimed
    FROM (SELECT chat_must_hold(locked.owner_id, :limits) AS held,
                 locked.last_model_config_id AS model_config_id
          FROM locked, decision WHERE decision.outcome = 'done') chat
), updated AS (
    UPDATE chats c SET
        version = c.version + 1 + claimed::integer,
        updated_at = clock_timestamp(),
        status = CASE WHEN claimed THEN 'running' ELSE 'pending' END,
        pending_since = CASE WHEN NOT claimed THEN clock_timestamp() END,
        round = chat_next_round(c.owner_id),
        held = pending.held,
        epoch = c.epoch + claimed::integer,
        settled_part = CASE WHEN claimed THEN 0 ELSE c.settled_part END,
        worker_id = CASE WHEN claimed THEN :worker_id::uuid END,
        started_at = CASE WHEN claimed THEN clock_timestamp() END,
        heartbeat_at = CASE WHEN claimed THEN clock_timestamp() END,
        action_deadline = NULL,
        request_traceparent = COALESCE(:request_traceparent, c.request_traceparent),
        claim_traceparent = CASE WHEN claimed AND (c.lapsed_step = c.committed_steps) IS NOT TRUE
                                 THEN :claim_traceparent ELSE c.claim_traceparent END,
        stored_bytes = c.stored_bytes + pg_column_size(:results::jsonb)
    FROM decision, pending WHERE c.id = decision.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT id, chat_message_id(answered, 1), answered, 'tool', content
    FROM (SELECT id, version - claimed::integer AS answered FROM updated, pending) chat,
         closed_calls
    WHERE content IS NOT NULL
    RETURNING *
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id, data)
    SELECT updated.id, entry.*
    FROM updated, pending, LATERAL (
        SELECT version - claimed::integer, 'submit_tool_results', 'pending',
               epoch - claimed::integer, NULL::uuid, :actor_owner_id, :actor_token_id::uuid,
               jsonb_build_object('messages', (
                   SELECT COALESCE(jsonb_agg(id), '[]') FROM inserted))
        UNION ALL
        SELECT version, 'claim', 'running', epoch, worker_id, NULL, NULL, '{}' WHERE claimed
    ) entry
    RETURNING transition, version, created_at, data
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', round) FROM updated
    WHERE status = 'running' AND :advance AND round > (SELECT last_value FROM chat_claimed_round)
), response AS (
    SELECT decision.outcome, decision.tool_call_ids, chat_columns(updated),
           entry.version AS entry_version,
           entry.created_at AS entry_created_at, entry.data AS entry_data,
           claim.created_at AS claim_created_at, claim.data AS claim_data,
           locked.settled_part AS unclaimed_settled_part,
           locked.claim_traceparent AS unclaimed_traceparent,
           (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted) AS messages,
           (SELECT count(*) FROM advanced) AS rounds_advanced
    FROM decision JOIN locked ON true LEFT JOIN updated ON true
                  LEFT JOIN entries entry ON entry.transition = 'submit_tool_results'
                  LEFT JOIN entries claim ON claim.transition = 'claim'
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, entry_version,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: expire_action
-- Answer the open calls of chats whose client missed the deadline with errors, and make those
-- chats pending. A chat that changed between the snapshot and the lock is left to the next run,
-- because it may have other open calls by now.
WITH overdue AS MATERIALIZED (
    SELECT id, version FROM chats
    WHERE status = 'requires_action' AND action_deadline < (SELECT clock_timestamp())
      AND id <> ALL(:excluded::uuid[]) AND (:only::uuid[] IS NULL OR id = ANY(:only))
    ORDER BY action_deadline LIMIT :limit
), locked AS MATERIALIZED (
    SELECT c.id FROM chats c JOIN overdue o ON o.id = c.id AND o.version = c.version
    WHERE c.status = 'requires_action'
    FOR NO KEY UPDATE OF c SKIP LOCKED
), closed_calls AS MATERIALIZED (
    SELECT locked.id, chat_close_calls(locked.id, '[]', :words) AS content FROM locked
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = clock_timestamp(),
        round = chat_front_round(),
        held = chat_must_hold(c.owner_id, :limits),
        action_deadline = NULL,
        stored_bytes = c.stored_bytes + COALESCE(pg_column_size(closed_calls.content), 0)
    FROM closed_calls WHERE c.id = closed_calls.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated JOIN closed_calls ON closed_calls.id = updated.id
    WHERE content IS NOT NULL
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
    SELECT updated.id, updated.version, 'expire_action', updated.status, updated.epoch,
           jsonb_build_object('messages', (SELECT COALESCE(jsonb_agg(id), '[]') FROM inserted
                                           WHERE inserted.chat_id = updated.id))
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted
        WHERE inserted.chat_id = updated.id) AS messages
FROM updated JOIN journal_entry ON journal_entry.chat_id = updated.id;

-- name: overdue_actions
-- Read the chats whose client missed the deadline, because a statement about all of them failed.
SELECT id FROM chats
WHERE status = 'requires_action' AND action_deadline < (SELECT clock_timestamp())
  AND id <> ALL(:excluded::uuid[])
ORDER BY action_deadline LIMIT :limit;
