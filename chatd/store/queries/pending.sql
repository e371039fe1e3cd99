-- Pending chats that no claim takes. Every worker looks for them all the time, so both statements
-- read few entries of an index for each model.

-- name: unserved_models
-- Read the models that no living worker has, although chats have been pending for them for
-- `:grace_seconds`. A worker is alive within `:lease_seconds` of its last heartbeat.
SELECT m.id FROM chat_model_configs m
WHERE NOT EXISTS (
        SELECT FROM workers w
        WHERE m.id = ANY(w.models)
          AND w.heartbeat_at > clock_timestamp() - make_interval(secs => :lease_seconds))
  AND EXISTS (
        SELECT FROM chats
        WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
          AND last_model_config_id = m.id
          AND pending_since
              < (SELECT clock_timestamp() - make_interval(secs => :grace_seconds))
        UNION ALL
        SELECT FROM chats
        WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
          AND last_model_config_id = m.id
          AND pending_since
              < (SELECT clock_timestamp() - make_interval(secs => :grace_seconds)));

-- name: fail_unserved
-- End the turns of chats that have been pending for `:grace_seconds` for a model that no living
-- worker has, and keep the reason. Queued messages stay in the queue. Open tool calls, which a dead
-- worker left, are closed with `:words`.
WITH models AS MATERIALIZED (
    SELECT m.id, 'no running worker has the model ' || m.name AS reason
    FROM chat_model_configs m
    WHERE m.id = ANY(:models::uuid[]) AND NOT EXISTS (
        SELECT FROM workers w
        WHERE m.id = ANY(w.models)
          AND w.heartbeat_at > clock_timestamp() - make_interval(secs => :lease_seconds))
), found AS MATERIALIZED (
    SELECT head.place, models.reason FROM models CROSS JOIN LATERAL (
        (SELECT ctid AS place FROM chats
         WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
           AND last_model_config_id = models.id
           AND pending_since
               < (SELECT clock_timestamp() - make_interval(secs => :grace_seconds))
         ORDER BY pending_since LIMIT :limit)
        UNION ALL
        (SELECT ctid FROM chats
         WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
           AND last_model_config_id = models.id
           AND pending_since
               < (SELECT clock_timestamp() - make_interval(secs => :grace_seconds))
         ORDER BY recoveries, pending_since LIMIT :limit)
    ) head
    LIMIT :limit
), locked AS MATERIALIZED (
    SELECT chat.id, found.reason FROM found CROSS JOIN LATERAL (
        SELECT id FROM chats
        WHERE ctid = found.place AND status = 'pending' AND NOT held
          AND id <> ALL(:excluded::uuid[]) AND (:only::uuid[] IS NULL OR id = ANY(:only))
        FOR NO KEY UPDATE SKIP LOCKED
    ) chat
), closed_calls AS MATERIALIZED (
    SELECT id, chat_close_calls(id, '[]', :words) AS content FROM locked
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'error',
        pending_since = NULL,
        last_error = locked.reason,
        last_error_detail = jsonb_build_object(
            'kind', 'configuration', 'message', locked.reason,
            'provider', NULL, 'model', NULL, 'status_code', NULL, 'retryable', false,
            'attempts', c.attempts, 'at', clock_timestamp()),
        recoveries = 0,
        attempts = 0,
        next_attempt_at = NULL,
        turn_deadline_at = NULL,
        compaction_request = NULL,
        stored_bytes = c.stored_bytes + COALESCE((
            SELECT pg_column_size(content) FROM closed_calls WHERE closed_calls.id = c.id), 0)
    FROM locked WHERE c.id = locked.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated JOIN closed_calls ON closed_calls.id = updated.id
    WHERE content IS NOT NULL
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT id, version, 'fail_unserved', status, epoch, :worker_id, jsonb_build_object(
        'last_error', last_error, 'last_error_detail', last_error_detail)
        || jsonb_strip_nulls(jsonb_build_object(
            'messages', (SELECT jsonb_agg(inserted.id) FROM inserted
                         WHERE inserted.chat_id = updated.id)))
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted
        WHERE inserted.chat_id = updated.id) AS messages
FROM updated JOIN journal_entry ON journal_entry.chat_id = updated.id;

-- name: pending_for
-- Read pending chats of the given models, because a statement about all of them failed.
SELECT chat.id FROM unnest(:models::uuid[]) AS model (id) CROSS JOIN LATERAL (
    (SELECT id FROM chats
     WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
       AND last_model_config_id = model.id AND id <> ALL(:excluded::uuid[])
     ORDER BY pending_since LIMIT :limit)
    UNION ALL
    (SELECT id FROM chats
     WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
       AND last_model_config_id = model.id AND id <> ALL(:excluded::uuid[])
     ORDER BY recoveries, pending_since LIMIT :limit)
) chat
LIMIT :limit;

-- name: admit_held
-- Admit held chats of up to `:max_owners` owners of whom fewer run than may, one of each. The
-- owners are those after `:after_owner`. A turn that ends admits the next held chat by itself.
-- This is for raised limits, turns that were stopped before they ran, deferred chats that are due
-- now, and statements that crossed. A chat that refuses to be admitted has no version.
WITH RECURSIVE owners AS (
    (SELECT owner_id FROM chats WHERE held AND owner_id > :after_owner ORDER BY owner_id LIMIT 1)
    UNION ALL
    SELECT (SELECT c.owner_id FROM chats c WHERE c.held AND c.owner_id > owners.owner_id
            ORDER BY c.owner_id LIMIT 1)
    FROM owners WHERE owners.owner_id IS NOT NULL
), read AS MATERIALIZED (
    SELECT owner_id FROM owners WHERE owner_id IS NOT NULL LIMIT :max_owners
)
SELECT read.owner_id, admitted.id, admitted.version
FROM read LEFT JOIN LATERAL chat_admit_serialized(read.owner_id, :limits) admitted ON true
ORDER BY read.owner_id;
