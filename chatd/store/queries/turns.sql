-- Transitions that the worker makes while it runs a turn. Each is fenced: it names the lease (chat,
-- worker, epoch) and the step that it stores. No row means that the lease is lost, and that nothing
-- was written.
--
-- Every transition that ends an attempt of a step raises `settled_part` by at least one, also
-- when no part was streamed. So (epoch, settled_part) identifies one attempt of one step, and no
-- reader takes the parts of the next attempt for parts of this one.

-- name: history
-- Read what the model is shown, in the order of ids. The first row has the tools of the chat and
-- its open tool calls, in their order.
--
-- Of what is compacted nothing is read but the system prompt and later instructions, which have an
-- index, and which the first row has. So a chat costs what its messages since the summary do.
WITH boundary AS MATERIALIZED (
    SELECT COALESCE((SELECT covers_until FROM chat_summaries WHERE chat_id = :chat_id
                     ORDER BY covers_until DESC LIMIT 1), 0) AS id
)
SELECT chat_id, id, version, role, content, model_config_id, finish_reason, input_tokens,
       output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, created_at,
       page_bytes, covers_until,
       CASE WHEN lag(id) OVER (ORDER BY id) IS NULL
            THEN (SELECT tools FROM chat_tools WHERE chat_id = :chat_id) END AS tools,
       CASE WHEN lag(id) OVER (ORDER BY id) IS NULL
            THEN (SELECT jsonb_agg(to_jsonb(t) ORDER BY t.position) FROM chat_tool_calls t
                  WHERE t.chat_id = :chat_id AND t.completed_at IS NULL) END AS ledger,
       CASE WHEN lag(id) OVER (ORDER BY id) IS NULL AND (SELECT id FROM boundary) > 0
            THEN (SELECT jsonb_agg(to_jsonb(p) ORDER BY p.id) FROM chat_messages p
                  WHERE p.chat_id = :chat_id AND p.superseded_version IS NULL
                    AND p.visibility IN ('both', 'model') AND p.role = 'system'
                    AND p.id <= (SELECT id FROM boundary)) END AS prompt
FROM chat_messages
WHERE chat_id = :chat_id AND id > (SELECT id FROM boundary)
  AND COALESCE(covers_until, id) >= (SELECT id FROM boundary)
  AND superseded_version IS NULL AND visibility IN ('both', 'model')
ORDER BY id;

-- name: current
-- Read a chat whose worker did not receive the result of its last statement.
SELECT chat_columns(chats) FROM chats WHERE id = :chat_id;

-- name: loss_reason
-- Read how a lease was lost: the last of the transitions that end a lease, of this epoch or of the
-- epoch that an edit made; null when there is none. `found` is false when the chat was
-- deleted.
SELECT EXISTS (SELECT FROM chats WHERE id = :chat_id) AS found,
       (SELECT transition FROM chat_events
        WHERE chat_id = :chat_id AND epoch BETWEEN :epoch AND :epoch + 1
          AND transition = ANY(:lease_ending_transitions)
        ORDER BY version DESC LIMIT 1) AS transition;

-- name: commit_step
-- Store one step of a running turn and go on. It is progress, so attempts and recoveries start
-- over. `:calls` are the tool calls that the step opens, as of chat_tool_call_rows. `:notices` is
-- what the journal has of notices for people, here and in `finish`.
WITH updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
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
                                 question)
    SELECT updated.id,
           COALESCE(call.message_id,
                    (SELECT id FROM inserted WHERE role = 'assistant' ORDER BY id LIMIT 1)),
           call.tool_call_id, call.tool_name, call.n, call.executor, call.policy, call.state,
           call.tries, updated.epoch, call.completed_at, call.is_error, call.answer, call.question
    FROM updated, chat_tool_call_rows(:calls) call
    ON CONFLICT (chat_id, message_id, tool_call_id) DO UPDATE SET
        executor = excluded.executor, policy = excluded.policy, state = excluded.state,
        tries = excluded.tries, epoch = excluded.epoch, completed_at = excluded.completed_at,
        is_error = excluded.is_error, answer = excluded.answer, question = excluded.question
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'commit_step', updated.status, updated.epoch,
           updated.worker_id,
           jsonb_build_object(
               'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM inserted),
               'settled_part', updated.settled_part) || :notices::jsonb
    FROM updated
    RETURNING created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages,
       (SELECT jsonb_agg(to_jsonb(o) ORDER BY o.position) FROM opened_calls o
        WHERE o.completed_at IS NULL) AS ledger
FROM updated, journal_entry;

-- name: finish_turn
-- Store the last steps of running turns and end them, in one statement, when no message is queued
-- and no compaction was asked for.
-- Every table is left as if each turn had ended alone, in the order of ids. The parameters are
-- arrays with an element for each turn, all of different chats, and the files of the only one. No
-- row: it is not so, another statement has the chat, or the lease is lost. `finish` says which.
--
-- The arrays stand in a CTE, so that one plan serves any number of turns. A chat that has changed
-- since the statement began, `seen`, is passed by like one that is locked: an UPDATE checks
-- constraints on the row of its snapshot. So a chat is looked up once, and then found at its place
-- (`send_and_claim`).
--
-- The result has the messages as they were given, and the update's moment for all that it stored:
-- joins with what was inserted cost more than the inserts.
WITH parameters AS MATERIALIZED (
    SELECT :chat_ids::uuid[] AS chat_ids, :worker_ids::uuid[] AS worker_ids,
           :epochs::bigint[] AS epochs, :steps::bigint[] AS steps,
           :settled_parts::bigint[] AS settled_parts, :messages::text[] AS messages
), turn AS MATERIALIZED (
    SELECT t.*, t.json_text::jsonb AS messages, pg_column_size(t.json_text::jsonb) AS bytes,
           seen.*
    FROM parameters, unnest(chat_ids, worker_ids, epochs, steps, settled_parts, messages)
         AS t (chat_id, worker_id, epoch, step, settled_part, json_text)
    CROSS JOIN LATERAL (
        SELECT version AS seen_version, ctid AS place FROM chats WHERE id = t.chat_id LIMIT 1
    ) seen
    ORDER BY t.chat_id
    LIMIT cardinality(:chat_ids)  -- all of them, which PostgreSQL takes for few
), ending AS MATERIALIZED (
    SELECT turn.* FROM turn CROSS JOIN LATERAL (
        SELECT FROM chats c
        WHERE c.ctid = turn.place AND c.version = turn.seen_version
          AND c.worker_id = turn.worker_id AND c.epoch = turn.epoch
          AND c.committed_steps = turn.step AND c.status = 'running' AND c.queue_length = 0
          AND c.compaction_request IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) chat
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(ending.settled_part, c.settled_part + 1),
        status = 'waiting',
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
        stored_bytes = c.stored_bytes + ending.bytes
            + chat_new_file_bytes(c.id, :file_ids, :file_data)
    FROM ending, chat_messages_usage(ending.messages) used
    WHERE c.ctid = ending.place
    RETURNING c.*, ending.worker_id AS ended_worker_id, ending.messages, ending.bytes,
              jsonb_strip_nulls(jsonb_build_object(
                  'messages', (SELECT jsonb_agg(chat_message_id(c.version, n) ORDER BY n)
                               FROM generate_series(1, jsonb_array_length(ending.messages)) n),
                  'settled_part', c.settled_part,
                  'queue_length', c.queue_length)) AS entry_data
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, model_config_id,
                               finish_reason, input_tokens, output_tokens, cache_read_tokens,
                               cache_write_tokens, reasoning_tokens, created_at)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.visibility, m.model_config_id, m.finish_reason, m.input_tokens, m.output_tokens,
           m.cache_read_tokens, m.cache_write_tokens, m.reasoning_tokens, updated.updated_at
    FROM updated, chat_message_rows(updated.messages) m
), deleted_parts AS (
    DELETE FROM chat_parts WHERE chat_id = ANY(ARRAY(SELECT id FROM updated))
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data,
                             created_at)
    SELECT id, version, 'finish_turn', status, epoch, ended_worker_id, entry_data, updated_at
    FROM updated
), admitted AS MATERIALIZED (  -- not in a join, which may call the function once for each owner
    SELECT id AS chat_id, chat_admit(owner_id, :limits) AS chat FROM updated
    WHERE :limits::jsonb ? 'max_running_per_owner'
       OR (SELECT true FROM chats held WHERE held.held AND held.owner_id = updated.owner_id LIMIT 1)
)
SELECT updated.id AS chat_id, 'done' AS outcome, chat_columns(updated),
       updated.updated_at AS entry_created_at, updated.entry_data,
       updated.messages AS new_messages, updated.bytes AS new_bytes,
       (admitted.chat).id AS admitted_id, (admitted.chat).version AS admitted_version
FROM updated
LEFT JOIN admitted ON admitted.chat_id = updated.id AND (admitted.chat).version IS NOT NULL;

-- name: finish
-- Store the last step and end the turn. `:transition` says which end it is and `:from_status`
-- from which status. The head of the queue becomes the next turn: of the same worker if
-- `:keep_lease`, else of the worker that claims it. Open tool calls are closed: with their
-- `:results`, else with `:words`.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT id, version FROM chats
    WHERE id = :chat_id AND worker_id = :worker_id AND epoch = :epoch
      AND committed_steps = :step AND status = :from_status
    FOR NO KEY UPDATE
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE WHEN locked.version <> snapshot.version THEN 'stale' ELSE 'done' END AS outcome
    FROM locked, snapshot
), queue_head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, decision
    WHERE decision.outcome = 'done' AND q.chat_id = decision.id
    ORDER BY q.position, q.id LIMIT 1
), dequeued AS (
    DELETE FROM chat_queued_messages q USING queue_head
    WHERE q.chat_id = queue_head.chat_id AND q.id = queue_head.id
), next_turn AS MATERIALIZED (
    SELECT CASE WHEN NOT EXISTS (SELECT FROM queue_head) THEN 'waiting'
                WHEN :keep_lease THEN 'running'
                ELSE 'pending' END AS status,
           EXISTS (SELECT FROM queue_head) AND :keep_lease AS leased
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, :results, :words) AS content FROM decision
    WHERE decision.outcome = 'done'
      AND EXISTS (SELECT FROM chat_tool_calls t
                  WHERE t.chat_id = decision.id AND t.completed_at IS NULL)
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        status = next_turn.status,
        worker_id = CASE WHEN next_turn.leased THEN c.worker_id END,
        started_at = CASE WHEN next_turn.leased THEN c.started_at END,
        heartbeat_at = CASE WHEN next_turn.leased THEN c.heartbeat_at END,
        pending_since = CASE WHEN next_turn.status = 'pending' THEN clock_timestamp() END,
        round = CASE WHEN next_turn.status = 'pending' THEN chat_front_round() ELSE c.round END,
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        turn_deadline_at = NULL,
        queue_length = c.queue_length - CASE WHEN next_turn.status = 'waiting' THEN 0 ELSE 1 END,
        compaction_request = CASE WHEN :from_status = 'running'
                                       AND NOT COALESCE(c.compaction_request ? 'is_done', false)
                                  THEN c.compaction_request END,
        request_traceparent = CASE WHEN EXISTS (SELECT FROM queue_head)
                                   THEN (SELECT request_traceparent FROM queue_head)
                                   ELSE c.request_traceparent END,
        last_model_config_id = COALESCE((SELECT model_config_id FROM queue_head),
                                        c.last_model_config_id),
        input_tokens = c.input_tokens + used.input_tokens,
        output_tokens = c.output_tokens + used.output_tokens,
        cache_read_tokens = c.cache_read_tokens + used.cache_read_tokens,
        cache_write_tokens = c.cache_write_tokens + used.cache_write_tokens,
        reasoning_tokens = c.reasoning_tokens + used.reasoning_tokens,
        stored_bytes = c.stored_bytes + pg_column_size(:messages::jsonb)
            + chat_new_file_bytes(c.id, :file_ids, :file_data)
            + (SELECT COALESCE(sum(pg_column_size(content)), 0) FROM closed_calls)
            + chat_new_output_bytes(c.id, :results)
    FROM decision, next_turn, chat_messages_usage(:messages) used
    WHERE c.id = decision.id AND decision.outcome = 'done'
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
    FROM updated, (
        SELECT * FROM chat_message_rows(:messages)
        UNION ALL
        SELECT jsonb_array_length(:messages) + 1, 'tool', content, 'both', NULL, NULL, NULL, NULL,
               NULL, NULL, NULL
        FROM closed_calls WHERE content IS NOT NULL
        UNION ALL
        SELECT jsonb_array_length(:messages) + 2, 'user', queue_head.content, 'both',
               queue_head.model_config_id, NULL, NULL, NULL, NULL, NULL, NULL
        FROM queue_head
    ) m
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, :transition, updated.status, updated.epoch, :worker_id,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id ORDER BY id) FROM inserted),
               'promoted', (SELECT id FROM queue_head),
               'settled_part', updated.settled_part,
               'queue_length', updated.queue_length)) || :notices::jsonb
    FROM updated
    RETURNING created_at, data
), admitted AS MATERIALIZED (
    SELECT held.id, held.version FROM updated, chat_admit(updated.owner_id, :limits) held
    WHERE updated.status = 'waiting' AND held.version IS NOT NULL
)
SELECT decision.outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages,
       admitted.id AS admitted_id, admitted.version AS admitted_version
FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true LEFT JOIN admitted ON true;

-- name: compact
-- Store a summary of the history up to `:covers_until` and the notice of it, or raise
-- `pruned_through` without them. It is a step: attempts and recoveries start over. A request for a
-- compaction is fulfilled, unless this only prunes. One of an idle chat stays, as done, until the
-- end of its turn, so that a worker that takes the turn over ends it, too.
--
-- No row of what is covered is written (chat_summaries). A chat whose interrupt was requested is
-- not compacted.
WITH updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        pruned_through = GREATEST(c.pruned_through, :pruned_through::bigint),
        compaction_request = CASE
            WHEN :pruned_through::bigint IS NOT NULL THEN c.compaction_request
            WHEN c.compaction_request ? 'idle_version'
                THEN jsonb_build_object('idle_version', c.compaction_request->'idle_version',
                                        'is_done', true)
        END,
        input_tokens = c.input_tokens + used.input_tokens,
        output_tokens = c.output_tokens + used.output_tokens,
        cache_read_tokens = c.cache_read_tokens + used.cache_read_tokens,
        cache_write_tokens = c.cache_write_tokens + used.cache_write_tokens,
        reasoning_tokens = c.reasoning_tokens + used.reasoning_tokens,
        stored_bytes = c.stored_bytes + pg_column_size(:messages::jsonb)
    FROM chat_messages_usage(:messages) used
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.committed_steps = :step AND c.status = 'running'
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, covers_until,
                               model_config_id, finish_reason, input_tokens, output_tokens,
                               cache_read_tokens, cache_write_tokens, reasoning_tokens)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.visibility, CASE WHEN m.visibility = 'model' THEN :covers_until::bigint END,
           m.model_config_id, m.finish_reason, m.input_tokens, m.output_tokens,
           m.cache_read_tokens, m.cache_write_tokens, m.reasoning_tokens
    FROM updated, chat_message_rows(:messages) m
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'compact', updated.status, updated.epoch,
           updated.worker_id,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id ORDER BY id) FROM inserted),
               'compacted_until', :covers_until::bigint,
               'pruned_through', :pruned_through::bigint,
               'settled_part', updated.settled_part))
    FROM updated
    RETURNING created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages
FROM updated, journal_entry;

-- name: record_retry
-- Record that an attempt of a step failed and when the next is due, so that both outlive the
-- worker. `:attempts` counts this one.
WITH updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        attempts = :attempts,
        next_attempt_at = clock_timestamp() + make_interval(secs => :delay_seconds)
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.committed_steps = :step AND c.status = 'running' AND c.attempts = :attempts - 1
    RETURNING c.*
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'record_retry', updated.status, updated.epoch,
           updated.worker_id,
           jsonb_build_object('attempt', :attempts::integer,
                              'delay_seconds', :delay_seconds::float8,
                              'next_attempt_at', updated.next_attempt_at,
                              'settled_part', updated.settled_part,
                              'failure', :failure::jsonb)
    FROM updated
    RETURNING created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages
FROM updated, journal_entry;

-- name: defer
-- Record that an attempt of a step failed, and give the chat back until the next is due. It costs
-- no recovery. If the owner's running chats are limited, the chat is held, because others may run
-- meanwhile. The turn may last `:remaining_seconds` longer, whichever worker goes on with it.
WITH times AS MATERIALIZED (
    SELECT clock_timestamp() + make_interval(secs => :delay_seconds) AS due_at,
           clock_timestamp() + make_interval(secs => :remaining_seconds) AS deadline_at
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = times.due_at,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        attempts = :attempts,
        next_attempt_at = times.due_at,
        held = (:limits::jsonb->>'max_running_per_owner') IS NOT NULL,
        turn_deadline_at = times.deadline_at,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    FROM times
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.committed_steps = :step AND c.status = 'running' AND c.attempts = :attempts - 1
    RETURNING c.*
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'defer', updated.status, updated.epoch, :worker_id,
           jsonb_build_object('attempt', :attempts::integer,
                              'delay_seconds', :delay_seconds::float8,
                              'next_attempt_at', updated.next_attempt_at,
                              'settled_part', updated.settled_part,
                              'failure', :failure::jsonb)
    FROM updated
    RETURNING created_at, data
), admitted AS MATERIALIZED (
    SELECT held.id, held.version FROM updated, chat_admit(updated.owner_id, :limits) held
    WHERE held.version IS NOT NULL
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages,
       admitted.id AS admitted_id, admitted.version AS admitted_version
FROM updated CROSS JOIN journal_entry LEFT JOIN admitted ON true;

-- name: fail
-- End a turn that cannot succeed and keep the reason. Queued messages stay in the queue. Open tool
-- calls are closed: with their `:results`, else with `:words`. No file is touched, since a turn may
-- fail because files cannot be read.
WITH locked AS MATERIALIZED (
    SELECT id FROM chats
    WHERE id = :chat_id AND worker_id = :worker_id AND epoch = :epoch
      AND committed_steps = :step AND status = 'running'
    FOR NO KEY UPDATE
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(locked.id, :results, :words) AS content FROM locked
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'error',
        last_error = :last_error,
        last_error_detail = :last_error_detail,
        compaction_request = NULL,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        turn_deadline_at = NULL,
        stored_bytes = c.stored_bytes
            + (SELECT COALESCE(sum(pg_column_size(content)), 0) FROM closed_calls)
            + chat_new_output_bytes(c.id, :results)
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.committed_steps = :step AND c.status = 'running'
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated, closed_calls WHERE content IS NOT NULL
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'fail', updated.status, updated.epoch, :worker_id,
           jsonb_build_object('last_error', updated.last_error,
                              'last_error_detail', updated.last_error_detail,
                              'settled_part', updated.settled_part)
           || jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id) FROM inserted)))
    FROM updated
    RETURNING created_at, data
), admitted AS MATERIALIZED (
    SELECT held.id, held.version FROM updated, chat_admit(updated.owner_id, :limits) held
    WHERE held.version IS NOT NULL
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted) AS messages,
       admitted.id AS admitted_id, admitted.version AS admitted_version
FROM updated CROSS JOIN journal_entry LEFT JOIN admitted ON true;

-- name: release
-- Give a chat back because the worker stops. It costs no attempt, leaves no error, and the chat
-- comes before every new one. A retry that it was waiting for stays due when it was.
WITH updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = GREATEST(c.started_at, c.next_attempt_at),
        round = chat_front_round(),
        settled_part = c.settled_part + 1,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    WHERE c.id = :chat_id AND c.worker_id = :worker_id AND c.epoch = :epoch
      AND c.status = 'running'
    RETURNING c.*
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'release', updated.status, updated.epoch, :worker_id,
           jsonb_build_object('reason', :reason::text, 'settled_part', updated.settled_part)
    FROM updated
    RETURNING created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages
FROM updated, journal_entry;
