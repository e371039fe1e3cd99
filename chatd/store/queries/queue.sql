-- Transitions that callers make on a chat's queue. For the parameters that they share, see
-- chats.sql.

-- name: remove
-- Remove a message from the queue.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), dequeued AS (
    DELETE FROM chat_queued_messages q USING locked, snapshot
    WHERE locked.version = snapshot.version AND q.chat_id = locked.id AND q.id = :queued_id
    RETURNING q.id, q.bytes
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        queue_length = c.queue_length - 1,
        stored_bytes = c.stored_bytes - dequeued.bytes
    FROM dequeued WHERE c.id = :chat_id
    RETURNING c.*
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT id, version, 'remove_queued', status, epoch, :actor_owner_id, :actor_token_id::uuid,
           jsonb_build_object('removed', jsonb_build_array(:queued_id::bigint),
                              'queue_length', queue_length)
    FROM updated
    RETURNING created_at, data
)
SELECT CASE WHEN locked.version <> snapshot.version THEN 'stale'
            WHEN updated.id IS NULL THEN 'queued_message_not_found'
            ELSE 'done' END AS outcome,
       chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages
FROM locked CROSS JOIN snapshot LEFT JOIN updated ON true LEFT JOIN journal_entry ON true;

-- name: promote
-- Make a queued message the next one. It interrupts a running turn, enters the history of a failed
-- chat and of one that waits for answers or other chats, and moves to the front of the queue of a
-- chat that is pending or interrupting.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), target AS MATERIALIZED (
    SELECT * FROM chat_queued_messages WHERE chat_id = :chat_id AND id = :queued_id
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN NOT EXISTS (SELECT FROM target) THEN 'queued_message_not_found'
               WHEN locked.archived THEN 'chat_archived'
               WHEN locked.status = 'error' AND locked.parent_chat_id IS NULL
                   THEN COALESCE(chat_owner_refusal(locked.owner_id, :limits), 'append_queued')
               WHEN locked.status IN ('error', 'requires_action', 'parked') THEN 'append_queued'
               WHEN locked.status = 'running' THEN 'interrupt'
               WHEN locked.status IN ('pending', 'interrupting') THEN 'move_to_front'
               ELSE 'status_unknown'
           END AS plan
    FROM locked, snapshot
), queue_head AS MATERIALIZED (
    SELECT target.* FROM target, decision WHERE decision.plan = 'append_queued'
), dequeued AS (
    DELETE FROM chat_queued_messages q USING queue_head
    WHERE q.chat_id = queue_head.chat_id AND q.id = queue_head.id
), reordered AS (
    UPDATE chat_queued_messages q SET position = front.position - 1
    FROM decision, (SELECT min(position) AS position FROM chat_queued_messages
                    WHERE chat_id = :chat_id) front
    WHERE decision.plan IN ('interrupt', 'move_to_front') AND q.chat_id = decision.id
      AND q.id = :queued_id
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, '[]', :words) AS content FROM decision
    WHERE decision.plan = 'append_queued'
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE decision.plan WHEN 'append_queued' THEN 'pending'
                                    WHEN 'interrupt' THEN 'interrupting'
                                    ELSE c.status END,
        pending_since = CASE WHEN decision.plan = 'append_queued' THEN clock_timestamp()
                             ELSE c.pending_since END,
        round = CASE WHEN decision.plan = 'append_queued' THEN chat_next_round(c.owner_id)
                     ELSE c.round END,
        held = CASE WHEN decision.plan = 'append_queued'
                    THEN chat_must_hold(c.owner_id, :limits) ELSE c.held END,
        action_deadline = NULL,
        last_error = NULL,
        last_error_detail = NULL,
        queue_length = c.queue_length - CASE WHEN decision.plan = 'append_queued' THEN 1 ELSE 0 END,
        request_traceparent = CASE WHEN EXISTS (SELECT FROM queue_head)
                                   THEN (SELECT request_traceparent FROM queue_head)
                                   ELSE c.request_traceparent END,
        last_model_config_id = COALESCE((SELECT model_config_id FROM queue_head),
                                        c.last_model_config_id),
        stored_bytes = c.stored_bytes + (
            SELECT COALESCE(sum(pg_column_size(content)), 0) FROM closed_calls)
    FROM decision
    WHERE c.id = decision.id AND decision.plan IN ('append_queued', 'interrupt', 'move_to_front')
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, model_config_id)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.model_config_id
    FROM updated, (
        SELECT 1 AS n, 'tool' AS role, content, NULL::uuid AS model_config_id
        FROM closed_calls WHERE content IS NOT NULL
        UNION ALL
        SELECT 2, 'user', queue_head.content, queue_head.model_config_id FROM queue_head
    ) m
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT updated.id, updated.version, 'promote', updated.status, updated.epoch, :actor_owner_id,
           :actor_token_id::uuid,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id ORDER BY id) FROM inserted),
               'promoted', (SELECT id FROM queue_head),
               'head', CASE WHEN decision.plan <> 'append_queued' THEN :queued_id::bigint END,
               'queue_length', updated.queue_length))
    FROM updated, decision
    RETURNING created_at, data
), response AS (
    SELECT CASE WHEN updated.id IS NOT NULL THEN 'done' ELSE decision.plan END AS outcome,
           chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages
    FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;
