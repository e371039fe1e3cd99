-- The ledger of tool calls: asking people and the client, and storing results of the server's own
-- tools. Answers are in actions.sql.
--
-- A chat has open rows in chat_tool_calls only while it is busy. The statement that stores a
-- message with calls opens them (`require_action`, turns.commit_step), and the one that closes the
-- last of them stores the message with the results of all. A chat in 'requires_action' has calls
-- that are asked, and none that was started and has no result.

-- name: require_action
-- Store one step with calls that people or the client are to answer, and give up the lease until
-- they have. Fenced by worker, epoch and step like the transitions of turns.sql. Queued messages
-- stay in the queue. `:calls` are the tool calls of the message, as of chat_tool_call_rows. Those
-- that are in the ledger already are as they were. The time that an answer has is the one that
-- `:timeouts` has for the kind of its question. The journal has the arguments of a call (`args`)
-- only if its message is older than the entry. Else they are in the message.
WITH asked AS MATERIALIZED (
    SELECT call, n, seconds, seconds - min(seconds) OVER () AS more_seconds
    FROM jsonb_array_elements(:calls) WITH ORDINALITY AS input (call, n),
         LATERAL (SELECT (:timeouts::jsonb->>(call->'question'->>'kind'))::float8 AS seconds) given
    WHERE call->>'state' = 'asked'
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        status = 'requires_action',
        action_deadline = clock_timestamp()
            + make_interval(secs => (SELECT min(seconds) FROM asked)),
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
                                 policy, state, tries, epoch, completed_at, is_error, answer,
                                 question, expires_at)
    SELECT updated.id,
           COALESCE(call.message_id,
                    (SELECT id FROM inserted WHERE role = 'assistant' ORDER BY id LIMIT 1)),
           call.tool_call_id, call.tool_name, call.n, call.executor, call.policy, call.state,
           call.tries, updated.epoch, call.completed_at, call.is_error, call.answer, call.question,
           updated.action_deadline + make_interval(secs => asked.more_seconds)
    FROM updated, chat_tool_call_rows(:calls) call LEFT JOIN asked ON asked.n = call.n
    ON CONFLICT (chat_id, message_id, tool_call_id) DO UPDATE SET
        executor = excluded.executor, policy = excluded.policy, state = excluded.state,
        tries = excluded.tries, epoch = excluded.epoch, completed_at = excluded.completed_at,
        is_error = excluded.is_error, answer = excluded.answer, question = excluded.question,
        expires_at = excluded.expires_at
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
                             'args', call->'args', 'question', call->'question',
                             'expires_at', updated.action_deadline
                                 + make_interval(secs => more_seconds))) ORDER BY n)
                         FROM asked),
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
-- are ready, or idempotent and started by an earlier worker. One that is reattached to changes its
-- worker, and that is no try. `:asking` are objects of tool_call_id, question and continuation, of
-- calls that were started here and whose tools need input. What an earlier try of this statement
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
        tries = t.tries + (t.policy <> 'reattach' OR t.state = 'ready')::integer,
        epoch = :epoch,
        started_at = clock_timestamp()
    FROM open_calls o
    WHERE cardinality(:start_ids::text[]) > 0   -- else the table is not read
      AND o.chat_id = t.chat_id AND o.message_id = t.message_id
      AND o.tool_call_id = t.tool_call_id AND t.tool_call_id = ANY(:start_ids::text[])
      AND (t.state = 'ready'
           OR t.state = 'started' AND t.policy IN ('idempotent', 'reattach')
              AND t.epoch < :epoch)
    RETURNING t.*
), asked AS (
    UPDATE chat_tool_calls t SET
        state = 'asked',
        tries = 0,
        started_at = clock_timestamp(),
        question = item->'question',
        decision = NULL,
        earlier_decisions = CASE
            WHEN t.question IS NULL THEN t.earlier_decisions
            ELSE t.earlier_decisions || jsonb_build_array(jsonb_build_object(
                     'kind', t.question->'kind', 'decision', t.decision)) END,
        continuation = decode(item->>'continuation', 'base64')
    FROM open_calls o JOIN jsonb_array_elements(:asking) AS asking (item)
        ON item->>'tool_call_id' = o.tool_call_id
    WHERE jsonb_array_length(:asking) > 0   -- likewise
      AND o.chat_id = t.chat_id AND o.message_id = t.message_id
      AND o.tool_call_id = t.tool_call_id AND t.state = 'started' AND t.epoch = :epoch
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
            + (SELECT COALESCE(sum(pg_column_size(question) + length(continuation)), 0) FROM asked)
    FROM decision LEFT JOIN closed_calls ON true
    WHERE c.id = decision.id
      AND (EXISTS (SELECT FROM closed_calls) OR EXISTS (SELECT FROM started)
           OR EXISTS (SELECT FROM asked))
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
               'started', (SELECT jsonb_agg(tool_call_id ORDER BY position) FROM started),
               'asked', (SELECT jsonb_agg(tool_call_id ORDER BY position) FROM asked)))
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
            SELECT to_jsonb(asked) FROM asked
            UNION ALL
            SELECT to_jsonb(o) FROM open_calls o
            WHERE o.given_error IS NULL
              AND NOT EXISTS (SELECT FROM started s WHERE s.tool_call_id = o.tool_call_id)
              AND NOT EXISTS (SELECT FROM asked a WHERE a.tool_call_id = o.tool_call_id)
        ) still_open) AS ledger
FROM decision JOIN chat ON true LEFT JOIN journal_entry ON true;
