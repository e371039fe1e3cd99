-- Transitions that callers make on a chat's history. Messages that they remove are superseded: kept
-- in the table and hidden. For the parameters that all of them share, see chats.sql.

-- name: edit
-- Replace a user's message: supersede it and everything after it, empty the queue, and make the
-- chat pending. The epoch rises, so a worker that holds the chat is fenced. Chats that a worker
-- holds, and those in the line, are not claimed.
--
-- Without `:content` (`regenerate`) the last user's message up to `:message_id` stays, and what is
-- after it is superseded. If a client knows the message by a key of its own, the new one has that.
--
-- Summaries that cover the user's message are superseded, so that the history has again what they
-- covered. Earlier ones stay, wherever they are stored. Old results that the model was not shown up
-- to a later message are shown again.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), named_message AS MATERIALIZED (
    SELECT id, role, content->0->'client' AS client_key FROM chat_messages
    WHERE chat_id = :chat_id AND id = :message_id
      AND superseded_version IS NULL AND visibility IN ('both', 'user')
), target_message AS MATERIALIZED (
    SELECT m.* FROM named_message CROSS JOIN LATERAL (
        SELECT named_message.id, named_message.role WHERE :content::jsonb IS NOT NULL
        UNION ALL
        (SELECT id, role FROM chat_messages
         WHERE :content::jsonb IS NULL AND chat_id = :chat_id AND id <= named_message.id
           AND role = 'user' AND superseded_version IS NULL AND visibility IN ('both', 'user')
         ORDER BY id DESC LIMIT 1)
    ) m
), added AS MATERIALIZED (
    SELECT COALESCE(pg_column_size(:content::jsonb), 0)
           + chat_new_file_bytes(:chat_id, :file_ids, :file_data) AS bytes
), decision AS MATERIALIZED (
    SELECT locked.id,
           (SELECT id FROM target_message) AS answered,
           (SELECT id FROM target_message) + (:content::jsonb IS NULL)::integer AS reset_from,
           (SELECT max(covers_until) FROM chat_summaries
            WHERE chat_id = :chat_id) AS compacted_until,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN NOT EXISTS (SELECT FROM target_message) THEN 'message_not_found'
               WHEN (SELECT role FROM target_message) <> 'user' THEN 'not_a_user_message'
               WHEN locked.archived THEN 'chat_archived'
               WHEN locked.status NOT IN ('waiting', 'error', 'pending', 'running',
                                          'interrupting', 'requires_action', 'parked')
                   THEN 'status_unknown'
               ELSE COALESCE(
                   CASE WHEN :content::jsonb IS NOT NULL
                        THEN chat_bytes_refusal(locked.owner_id, :limits, locked.stored_bytes,
                                                added.bytes) END,
                   CASE WHEN locked.status IN ('waiting', 'error')
                             AND locked.parent_chat_id IS NULL
                        THEN chat_owner_refusal(locked.owner_id, :limits) END,
                   'done')
           END AS outcome
    FROM locked, snapshot, added
), pending AS MATERIALIZED (
    SELECT held, NOT held AND comes_anew AND model_config_id = ANY(:models::uuid[]) AS claimed
    FROM (SELECT comes_anew, locked.last_model_config_id AS model_config_id,
                 CASE WHEN comes_anew THEN chat_must_hold(locked.owner_id, :limits)
                      ELSE locked.held END AS held
          FROM locked, decision,
               LATERAL (SELECT locked.status IN ('waiting', 'error', 'requires_action', 'parked')
                               AS comes_anew) before
          WHERE decision.outcome = 'done') chat
), superseded AS (
    UPDATE chat_messages m SET superseded_version = locked.version + 1
    FROM decision, locked
    WHERE decision.outcome = 'done' AND m.chat_id = decision.id AND m.id >= decision.reset_from
      AND (m.covers_until IS NULL OR m.covers_until >= decision.answered)
      AND m.superseded_version IS NULL
), closed_tool_calls AS (
    UPDATE chat_tool_calls t SET
        state = 'closed',
        completed_at = clock_timestamp(),
        is_error = true,
        answer = chat_tool_result(t.tool_call_id, t.tool_name, '"superseded"', true),
        continuation = NULL
    FROM decision
    WHERE decision.outcome = 'done' AND t.chat_id = decision.id AND t.completed_at IS NULL
), dequeued AS (
    DELETE FROM chat_queued_messages q USING decision
    WHERE decision.outcome = 'done' AND q.chat_id = decision.id
    RETURNING q.id, q.bytes
), deleted_parts AS (
    DELETE FROM chat_parts p USING decision
    WHERE decision.outcome = 'done' AND p.chat_id = decision.id
), updated AS (
    UPDATE chats c SET
        version = c.version + 1 + claimed::integer,
        updated_at = clock_timestamp(),
        status = CASE WHEN claimed THEN 'running' ELSE 'pending' END,
        pending_since = CASE WHEN NOT claimed THEN LEAST(c.pending_since, clock_timestamp()) END,
        round = CASE WHEN c.status = 'pending' THEN GREATEST(c.round, chat_front_round())
                     ELSE chat_next_round(c.owner_id) END,
        held = pending.held,
        epoch = c.epoch + 1 + claimed::integer,
        settled_part = 0,
        worker_id = CASE WHEN claimed THEN :worker_id::uuid END,
        started_at = CASE WHEN claimed THEN clock_timestamp() END,
        heartbeat_at = CASE WHEN claimed THEN clock_timestamp() END,
        action_deadline = NULL,
        request_traceparent = :request_traceparent,
        claim_traceparent = CASE WHEN claimed AND (c.lapsed_step = c.committed_steps) IS NOT TRUE
                                 THEN :claim_traceparent ELSE c.claim_traceparent END,
        last_error = NULL,
        last_error_detail = NULL,
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        turn_deadline_at = NULL,
        queue_length = 0,
        pruned_through = CASE WHEN c.pruned_through < decision.answered THEN c.pruned_through END,
        compaction_request = NULL,
        stored_bytes = c.stored_bytes + added.bytes
            - (SELECT COALESCE(sum(bytes), 0) FROM dequeued)
    FROM decision, added, pending WHERE c.id = decision.id
    RETURNING c.*
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, model_config_id)
    SELECT id, chat_message_id(edited, 1), edited, 'user',
           CASE WHEN client_key IS NULL OR :content::jsonb->0 ? 'client' THEN :content
                ELSE jsonb_set(:content, '{0,client}', client_key) END, last_model_config_id
    FROM (SELECT updated.*, version - claimed::integer AS edited, client_key
          FROM updated, pending, named_message) chat
    WHERE :content::jsonb IS NOT NULL
    RETURNING *
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id, data)
    SELECT updated.id, entry.*
    FROM updated, pending, decision, LATERAL (
        SELECT COALESCE(max(covers_until), 0) AS until FROM chat_summaries
        WHERE chat_id = decision.id AND covers_until < decision.answered
    ) remaining, LATERAL (
        SELECT version - claimed::integer, :transition_name, 'pending', epoch - claimed::integer,
               NULL::uuid, :actor_owner_id, :actor_token_id::uuid,
               jsonb_strip_nulls(jsonb_build_object(
                   'reset_from', reset_from,
                   'compacted_until', CASE WHEN decision.compacted_until >= decision.answered
                                           THEN remaining.until END,
                   'messages', (SELECT jsonb_agg(id) FROM inserted),
                   'removed', (SELECT jsonb_agg(id ORDER BY id) FROM dequeued),
                   'queue_length', queue_length))
        UNION ALL
        SELECT version, 'claim', 'running', epoch, worker_id, NULL, NULL, '{}' WHERE claimed
    ) entry
    RETURNING transition, version, created_at, data
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', round) FROM updated
    WHERE status = 'running' AND :advance AND round > (SELECT last_value FROM chat_claimed_round)
), response AS (
    SELECT decision.outcome, chat_columns(updated), entry.version AS entry_version,
           entry.created_at AS entry_created_at, entry.data AS entry_data,
           claim.created_at AS claim_created_at, claim.data AS claim_data,
           0::bigint AS unclaimed_settled_part, locked.claim_traceparent AS unclaimed_traceparent,
           (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted) AS messages,
           (SELECT count(*) FROM advanced) AS rounds_advanced
    FROM decision JOIN locked ON true LEFT JOIN updated ON true
                  LEFT JOIN entries entry ON entry.transition <> 'claim'
                  LEFT JOIN entries claim ON claim.transition = 'claim'
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, entry_version,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: append
-- Store `:messages` at the end of the history of an idle chat, and start no turn. A failed chat
-- stays one, and its turn can be tried again. A chat without a title gets its `:first_words`.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), added AS MATERIALIZED (
    SELECT pg_column_size(:messages::jsonb)
           + chat_new_file_bytes(:chat_id, :file_ids, :file_data) AS bytes
), decision AS MATERIALIZED (
    SELECT locked.id, added.bytes,
           locked.title = '' AND locked.title_by = 'words' AND :first_words <> '' AS gives_title,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN locked.archived THEN 'chat_archived'
               WHEN locked.status NOT IN ('waiting', 'error') THEN 'chat_busy'
               ELSE COALESCE(chat_bytes_refusal(locked.owner_id, :limits, locked.stored_bytes,
                                                added.bytes), 'done')
           END AS outcome
    FROM locked, snapshot, added
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        title = CASE WHEN gives_title THEN :first_words ELSE c.title END,
        stored_bytes = c.stored_bytes + decision.bytes
    FROM decision WHERE c.id = decision.id AND decision.outcome = 'done'
    RETURNING c.*
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content
    FROM updated, chat_message_rows(:messages) m
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT updated.id, updated.version, 'append', updated.status, updated.epoch, :actor_owner_id,
           :actor_token_id::uuid,
           jsonb_build_object('messages', (SELECT jsonb_agg(id ORDER BY id) FROM inserted))
           || CASE WHEN gives_title THEN chat_description(title, labels, archived)
                   ELSE '{}' END
    FROM updated, decision
    RETURNING created_at, data
), response AS (
    SELECT decision.outcome, chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages
    FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, version,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: clear
-- Supersede the whole history of an idle chat except the system prompt, and empty its queue. The
-- prompt are the system messages before all others. Later instructions are superseded, too.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN locked.archived THEN 'chat_archived'
               WHEN locked.status NOT IN ('waiting', 'error') THEN 'chat_busy'
               ELSE 'done'
           END AS outcome,
           (SELECT max(covers_until) FROM chat_summaries
            WHERE chat_id = :chat_id) AS compacted_until
    FROM locked, snapshot
), superseded AS (
    UPDATE chat_messages m SET superseded_version = locked.version + 1
    FROM decision, locked
    WHERE decision.outcome = 'done' AND m.chat_id = decision.id AND m.superseded_version IS NULL
      AND m.id >= (SELECT id FROM chat_messages
                   WHERE chat_id = :chat_id AND role <> 'system' AND superseded_version IS NULL
                   ORDER BY id LIMIT 1)
    RETURNING m.id
), dequeued AS (
    DELETE FROM chat_queued_messages q USING decision
    WHERE decision.outcome = 'done' AND q.chat_id = decision.id
    RETURNING q.id, q.bytes
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'waiting',
        last_error = NULL,
        last_error_detail = NULL,
        queue_length = 0,
        pruned_through = NULL,
        compaction_request = NULL,
        stored_bytes = c.stored_bytes - (SELECT COALESCE(sum(bytes), 0) FROM dequeued)
    FROM decision WHERE c.id = decision.id AND decision.outcome = 'done'
    RETURNING c.*
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT updated.id, updated.version, 'clear', updated.status, updated.epoch, :actor_owner_id,
           :actor_token_id::uuid,
           jsonb_strip_nulls(jsonb_build_object(
               'reset_from', (SELECT min(id) FROM superseded),
               'compacted_until', CASE WHEN decision.compacted_until > 0 THEN 0 END,
               'removed', (SELECT jsonb_agg(id ORDER BY id) FROM dequeued),
               'queue_length', updated.queue_length))
    FROM updated, decision
    RETURNING created_at, data
), response AS (
    SELECT decision.outcome, chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           NULL::jsonb AS messages
    FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: request_compaction
-- Ask for a compaction, with instructions for it or null. An idle chat becomes pending, so that a
-- turn compacts it. A busy one is compacted before its model is called next. A later request
-- replaces an earlier one.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), decision AS MATERIALIZED (
    SELECT locked.id, locked.status IN ('waiting', 'error') AS starts_turn,
           CASE WHEN locked.version <> snapshot.version THEN 'stale'
                WHEN locked.archived THEN 'chat_archived'
                WHEN locked.status NOT IN ('waiting', 'error') THEN 'done'
                WHEN NOT EXISTS (
                    SELECT FROM chat_messages m
                    WHERE m.chat_id = :chat_id AND m.role <> 'system' AND m.covers_until IS NULL
                      AND m.id > (SELECT COALESCE(max(covers_until), 0) FROM chat_summaries
                                  WHERE chat_id = :chat_id)
                      AND m.superseded_version IS NULL AND m.visibility IN ('both', 'model'))
                THEN 'nothing_to_compact'
                WHEN locked.parent_chat_id IS NOT NULL THEN 'done'
                ELSE COALESCE(chat_owner_refusal(locked.owner_id, :limits), 'done')
           END AS outcome
    FROM locked, snapshot
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        compaction_request = jsonb_strip_nulls(jsonb_build_object(
            'instructions', :instructions::text,
            'idle_version', CASE WHEN c.status = 'waiting' THEN to_jsonb(c.version + 1)
                                 ELSE c.compaction_request->'idle_version' END)),
        status = CASE WHEN starts_turn THEN 'pending' ELSE c.status END,
        pending_since = CASE WHEN starts_turn THEN clock_timestamp() ELSE c.pending_since END,
        round = CASE WHEN starts_turn THEN chat_next_round(c.owner_id) ELSE c.round END,
        held = CASE WHEN starts_turn THEN chat_must_hold(c.owner_id, :limits) ELSE c.held END,
        request_traceparent = CASE WHEN starts_turn THEN :request_traceparent
                                   ELSE c.request_traceparent END,
        last_error = NULL,
        last_error_detail = NULL
    FROM decision WHERE c.id = decision.id AND decision.outcome = 'done'
    RETURNING c.*
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id)
    SELECT id, version, 'request_compaction', status, epoch, :actor_owner_id,
           :actor_token_id::uuid
    FROM updated
    RETURNING created_at, data
), response AS (
    SELECT decision.outcome, chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           NULL::jsonb AS messages
    FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, version
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;
