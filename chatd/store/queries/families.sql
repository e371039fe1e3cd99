-- Families: chats that start others, and wait for them.
--
-- Only spawn, interrupt, archive and delete lock several chats of a family. They do so in the order
-- of ids, and whatever else locks more than one chat passes by those that are locked. So no two
-- statements wait for each other.

-- name: spawn
-- Start a chat for the chat of a worker: pending, with `:messages`. Fenced by worker and epoch. A
-- chat of this id is there already if the statement is repeated, and is returned unchanged. What is
-- null is that of the parent, whose permissions the new chat has without what was remembered. A
-- chat that a caller made with this id is none of the parent's.
--
-- The parent and the root of the family are kept from being deleted, and then the parent from being
-- stopped, so that no chat is started after a stop of its family. Neither gets another version.
WITH seen AS MATERIALIZED (
    SELECT id, root_chat_id FROM chats WHERE id = :chat_id
), kept AS MATERIALIZED (
    SELECT c.id FROM chats c, seen WHERE c.id IN (seen.id, seen.root_chat_id)
    ORDER BY c.id FOR KEY SHARE OF c
), parent AS MATERIALIZED (
    SELECT * FROM chats
    WHERE id = :chat_id AND worker_id = :worker_id AND epoch = :epoch AND status = 'running'
      AND (SELECT count(*) FROM kept) > 0
    FOR NO KEY UPDATE
), present AS MATERIALIZED (
    SELECT c.* FROM parent JOIN chats c ON c.id = :child_id
), added AS MATERIALIZED (
    SELECT pg_column_size(:messages::jsonb) AS bytes
), decision AS MATERIALIZED (
    SELECT CASE WHEN present.parent_chat_id = parent.id THEN 'present'
                WHEN present.id IS NOT NULL THEN 'id_taken'
                ELSE COALESCE(chat_bytes_refusal(parent.owner_id, :limits, 0, added.bytes),
                              chat_spawn_refusal(parent.id, parent.root_chat_id, :family_limits),
                              'done') END AS outcome
    FROM parent CROSS JOIN added LEFT JOIN present ON true
), created AS (
    INSERT INTO chats (id, parent_chat_id, root_chat_id, owner_id, title, title_by, server_tools,
                       permissions, last_model_config_id, status, pending_since, round, held,
                       request_traceparent, stored_bytes, expires_at)
    SELECT :child_id, parent.id, parent.root_chat_id, parent.owner_id, :title, :title_by,
           COALESCE(:server_tools, parent.server_tools), parent.permissions - 'remembered',
           COALESCE(:model_config_id, parent.last_model_config_id), 'pending', clock_timestamp(),
           chat_next_round(parent.owner_id), chat_must_hold(parent.owner_id, :limits),
           :request_traceparent, added.bytes, parent.expires_at
    FROM decision, parent, added WHERE decision.outcome = 'done'
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, model_config_id)
    SELECT created.id, chat_message_id(1, m.n), 1, m.role, m.content, m.visibility,
           CASE WHEN m.role = 'user' THEN created.last_model_config_id END
    FROM created, chat_message_rows(:messages) m
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
    SELECT id, version, 'create', status, epoch, jsonb_build_object(
               'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM inserted),
               'parent_chat_id', parent_chat_id)
    FROM created
    RETURNING created_at, data
), chat AS (
    SELECT * FROM created
    UNION ALL
    SELECT present.* FROM present, decision WHERE decision.outcome = 'present'
)
SELECT CASE WHEN chat.id IS NOT NULL THEN 'done'
            WHEN decision.outcome = 'done' THEN 'stale'  -- another try was quicker
            ELSE decision.outcome END AS outcome,
       chat_columns(chat),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages
FROM decision LEFT JOIN chat ON true LEFT JOIN journal_entry ON true;

-- name: park
-- Store one step, and give up the lease until the wait of its calls is over: of `:calls` that are
-- parked, as of chat_tool_call_rows with waits_for, wait_for_all and wait_seconds, and of those
-- that are in the ledger as parked. Fenced by worker, epoch and step like the transitions of
-- turns.sql. Queued messages stay in the queue.
WITH waiting AS MATERIALIZED (
    SELECT call, n, ARRAY(SELECT jsonb_array_elements_text(call->'waits_for'))::uuid[] AS waits_for,
           (call->>'wait_for_all')::boolean AS wait_for_all,
           clock_timestamp() + make_interval(secs => (call->>'wait_seconds')::float8) AS wake_at
    FROM jsonb_array_elements(:calls) WITH ORDINALITY AS input (call, n)
    WHERE call->>'state' = 'parked'
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        committed_steps = c.committed_steps + 1,
        settled_part = GREATEST(:settled_part, c.settled_part + 1),
        status = 'parked',
        action_deadline = GREATEST(
            (SELECT max(wake_at) FROM waiting),
            (SELECT max(wake_at) FROM chat_tool_calls t
             WHERE t.chat_id = :chat_id AND t.completed_at IS NULL AND t.state = 'parked')),
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
                                 question, waits_for, wait_for_all, wake_at)
    SELECT updated.id,
           COALESCE(call.message_id,
                    (SELECT id FROM inserted WHERE role = 'assistant' ORDER BY id LIMIT 1)),
           call.tool_call_id, call.tool_name, call.n, call.executor, call.policy, call.state,
           call.tries, updated.epoch, call.completed_at, call.is_error, call.answer, call.question,
           waiting.waits_for, waiting.wait_for_all, waiting.wake_at
    FROM updated, chat_tool_call_rows(:calls) call LEFT JOIN waiting ON waiting.n = call.n
    ON CONFLICT (chat_id, message_id, tool_call_id) DO UPDATE SET
        state = excluded.state, tries = excluded.tries, epoch = excluded.epoch,
        started_at = excluded.started_at, waits_for = excluded.waits_for,
        wait_for_all = excluded.wait_for_all, wake_at = excluded.wake_at
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT updated.id, updated.version, 'park', updated.status, updated.epoch, :worker_id,
           jsonb_build_object(
               'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM inserted),
               'parked', (SELECT COALESCE(jsonb_agg(jsonb_build_object(
                              'tool_call_id', call->'tool_call_id', 'tool_name', call->'tool_name',
                              'waits_for', waits_for, 'wait_for_all', wait_for_all,
                              'wake_at', wake_at) ORDER BY n), '[]')
                          FROM waiting),
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

-- name: wake
-- Make parked chats pending whose wait is over: the chats that their calls wait for are idle, or
-- their time is over. The calls get what these chats have said (chat_agent_result). Looked at are
-- the parked chats of the families `:root_ids` and, if `:sweeps`, those whose time is over and a
-- page of all others, after the last one of the page before. There is at least one row, which says
-- where the page ended; null: at the last one.
--
-- No chat that is waited for is locked. A chat that changed between the snapshot and the lock is
-- left to the next run. Owners are in their order, because chat_must_hold may lock them.
WITH page AS MATERIALIZED (
    SELECT id, action_deadline FROM chats
    WHERE :sweeps AND status = 'parked'
      AND (action_deadline, id) > (COALESCE(:after_deadline::timestamptz, '-infinity'),
                                   COALESCE(:after_id::uuid,
                                            '00000000-0000-0000-0000-000000000000'))
    ORDER BY action_deadline, id LIMIT :page_size
), page_end AS MATERIALIZED (
    SELECT last.* FROM (SELECT) one_row LEFT JOIN (
        SELECT action_deadline, id FROM page ORDER BY action_deadline DESC, id DESC LIMIT 1
    ) last ON (SELECT count(*) FROM page) = :page_size
), candidates AS MATERIALIZED (
    SELECT id FROM page
    UNION
    (SELECT id FROM chats
     WHERE :sweeps AND status = 'parked' AND action_deadline <= (SELECT clock_timestamp())
     ORDER BY action_deadline, id LIMIT :limit)
    UNION
    SELECT c.id FROM unnest(:root_ids::uuid[]) AS root (id)
    JOIN chats c ON c.root_chat_id = root.id AND c.status = 'parked'
), due AS MATERIALIZED (
    SELECT c.id, c.version, c.owner_id FROM candidates JOIN chats c USING (id)
    WHERE c.status = 'parked'
      AND c.id <> ALL(:excluded::uuid[]) AND (:only::uuid[] IS NULL OR c.id = ANY(:only))
      AND NOT EXISTS (
          SELECT FROM chat_tool_calls t
          WHERE t.chat_id = c.id AND t.completed_at IS NULL AND t.wake_at > clock_timestamp()
            AND NOT chat_wait_is_over(t.waits_for, t.wait_for_all, c.root_chat_id))
    ORDER BY c.owner_id, c.id LIMIT :limit
), locked AS MATERIALIZED (
    SELECT c.id, c.owner_id, c.root_chat_id FROM due CROSS JOIN LATERAL (
        SELECT * FROM chats p
        WHERE p.id = due.id AND p.version = due.version AND p.status = 'parked'
        FOR NO KEY UPDATE SKIP LOCKED
    ) c
), waits AS MATERIALIZED (
    SELECT t.chat_id, t.tool_call_id, t.tool_name, t.position,
           NOT chat_wait_is_over(t.waits_for, t.wait_for_all, locked.root_chat_id) AS timed_out,
           (SELECT COALESCE(jsonb_agg(chat_agent_result(
                       each.id, locked.root_chat_id, :max_characters, :words) ORDER BY n), '[]')
            FROM unnest(t.waits_for) WITH ORDINALITY AS each (id, n)) AS agents
    FROM locked JOIN chat_tool_calls t ON t.chat_id = locked.id
    WHERE t.completed_at IS NULL AND t.state = 'parked'
), closed_calls AS MATERIALIZED (
    SELECT locked.id, chat_close_calls(locked.id, (
               SELECT COALESCE(jsonb_agg(jsonb_build_object(
                   'tool_call_id', tool_call_id, 'is_error', false,
                   'result', jsonb_build_object('agents', agents, 'timed_out', timed_out))), '[]')
               FROM waits WHERE waits.chat_id = locked.id), '{}') AS content
    FROM locked
), next AS MATERIALIZED (
    SELECT id, chat_must_hold(owner_id, :limits) AS held FROM locked
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'pending',
        pending_since = clock_timestamp(),
        round = chat_front_round(),
        held = next.held,
        action_deadline = NULL,
        stored_bytes = c.stored_bytes + COALESCE(pg_column_size(closed_calls.content), 0)
    FROM closed_calls JOIN next USING (id) WHERE c.id = closed_calls.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated JOIN closed_calls ON closed_calls.id = updated.id
    WHERE content IS NOT NULL
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
    SELECT updated.id, updated.version, 'wake', updated.status, updated.epoch,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id) FROM inserted
                            WHERE inserted.chat_id = updated.id),
               'closed', (SELECT jsonb_agg(jsonb_build_object(
                              'tool_call_id', tool_call_id, 'tool_name', tool_name,
                              'is_error', false) ORDER BY position)
                          FROM waits WHERE waits.chat_id = updated.id),
               'timed_out', (SELECT COALESCE(bool_or(timed_out), false) FROM waits
                             WHERE waits.chat_id = updated.id)))
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted
        WHERE inserted.chat_id = updated.id) AS messages,
       page_end.action_deadline AS page_deadline, page_end.id AS page_id
FROM page_end LEFT JOIN (
    updated JOIN journal_entry ON journal_entry.chat_id = updated.id
) ON true;

-- name: parked
-- Read which chats a wake may be about, because a statement about all of them failed.
SELECT id FROM chats
WHERE status = 'parked' AND id <> ALL(:excluded::uuid[])
ORDER BY action_deadline, id LIMIT :limit;

-- name: agents
-- Read what a chat learns of its descendants: those of `:ids`, or the first `:limit` of all if that
-- is null, in the order in which they were started. Others are not found.
WITH RECURSIVE tree AS (
    SELECT id, parent_chat_id, 1 AS depth, created_at FROM chats WHERE parent_chat_id = :chat_id
    UNION ALL
    SELECT c.id, c.parent_chat_id, tree.depth + 1, c.created_at
    FROM chats c JOIN tree ON c.parent_chat_id = tree.id
)
SELECT tree.id, tree.parent_chat_id, tree.depth,
       chat_agent_result(tree.id, parent.root_chat_id, :max_characters, :words) AS result
FROM tree, chats parent
WHERE parent.id = :chat_id AND (:ids::uuid[] IS NULL OR tree.id = ANY(:ids))
ORDER BY tree.created_at, tree.id LIMIT :limit;

-- name: permissions_above
-- Read the permissions of the chats above one, as they are now.
WITH RECURSIVE ancestors AS (
    SELECT p.parent_chat_id, p.permissions
    FROM chats c JOIN chats p ON p.id = c.parent_chat_id WHERE c.id = :chat_id
    UNION ALL
    SELECT p.parent_chat_id, p.permissions
    FROM ancestors a JOIN chats p ON p.id = a.parent_chat_id
)
SELECT permissions FROM ancestors WHERE permissions IS NOT NULL;
