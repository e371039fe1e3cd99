-- Reaps: finding dead workers and reclaiming their chats. A target is a worker that counts as dead,
-- with the heartbeat that was its last, or one chat that its own worker gives up. A worker that has
-- renewed since is not dead.

-- name: look
-- Look once at the workers that hold leases. Return those whose lease is over or whose lock is
-- free, whether chats wait whose client missed its deadline, and whether any wait for others. Every
-- process looks every second, so the result is small: one row while nothing is wrong.
--
-- A worker keeps its lock while it lives, if it proved that the lock sits in a session of its own.
-- A free lock proves nothing about a worker that has not renewed since this server started,
-- because the start freed every lock. The check takes each lock until the end of the statement,
-- shared, so that several processes can look at the same time.
WITH holders AS MATERIALIZED (
    SELECT DISTINCT worker_id FROM chats WHERE worker_id IS NOT NULL
), looks AS MATERIALIZED (
    SELECT worker_id, w.heartbeat_at,
           COALESCE(w.heartbeat_at < clock_timestamp() - make_interval(secs => :lease_seconds),
                    true) AS expired,
           CASE WHEN w.lock_proved AND worker_id <> :worker_id
                     AND w.heartbeat_at > pg_postmaster_start_time()
                THEN pg_try_advisory_xact_lock_shared(hashtextextended(worker_id::text, 0))
                ELSE false END AS lock_free
    FROM holders LEFT JOIN workers w USING (worker_id)
)
SELECT looks.*,
       COALESCE((SELECT min(action_deadline) FROM chats WHERE status = 'requires_action')
                < clock_timestamp(), false) AS action_overdue,
       (SELECT min(action_deadline) FROM chats WHERE status = 'parked') IS NOT NULL AS parked
FROM (SELECT) one_row LEFT JOIN looks ON looks.expired OR looks.lock_free;

-- name: reap
-- Make running chats of dead workers pending again, with errors cleared.
--
-- A death counts as a recovery when it is proved. An expired lease proves nothing yet: the worker
-- is kept in `lapsed_worker_id`, and counts at the next reap unless it is alive then or the chat
-- has made progress. A chat that was reclaimed more than `:max_recoveries` times without
-- progress fails with the kind crash_loop instead. Its open tool calls are closed with `:words`.
-- Those of other chats are left to the next worker.
WITH targets AS MATERIALIZED (
    SELECT t.worker_id, t.reason, t.chat_id, t.epoch
    FROM unnest(:worker_ids::uuid[], :heartbeats::timestamptz[], :reasons::text[],
                :chat_ids::uuid[], :epochs::bigint[])
        AS t (worker_id, heartbeat_at, reason, chat_id, epoch)
    LEFT JOIN workers w ON w.worker_id = t.worker_id
    WHERE (t.chat_id IS NOT NULL AND t.heartbeat_at IS NULL)
       OR w.heartbeat_at IS NOT DISTINCT FROM t.heartbeat_at
), locked AS MATERIALIZED (
    SELECT c.id, targets.reason,
           c.recoveries
           + (targets.reason IN ('worker_dead', 'abandoned'))::integer
           + COALESCE((c.lapsed_worker_id <> c.worker_id AND c.lapsed_step = c.committed_steps
                       AND NOT EXISTS (SELECT FROM workers w
                                       WHERE w.worker_id = c.lapsed_worker_id
                                         AND w.heartbeat_at > c.started_at))::integer, 0)
           AS recoveries
    FROM targets JOIN chats c ON c.worker_id = targets.worker_id
    WHERE c.status = 'running'
      AND (targets.chat_id IS NULL OR (c.id = targets.chat_id AND c.epoch = targets.epoch))
      AND c.id <> ALL(:excluded::uuid[])
    ORDER BY c.id LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
), reclaimed AS MATERIALIZED (
    SELECT id, reason, recoveries,
           CASE WHEN recoveries > :max_recoveries THEN
               'chat given up: its worker died ' || recoveries || ' times without progress'
           END AS crash_loop_error
    FROM locked
), closed_calls AS MATERIALIZED (
    SELECT id, chat_close_calls(id, '[]', :words) AS content FROM reclaimed
    WHERE crash_loop_error IS NOT NULL
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE WHEN crash_loop_error IS NULL THEN 'pending' ELSE 'error' END,
        pending_since = CASE WHEN crash_loop_error IS NULL
                             THEN GREATEST(c.started_at, c.next_attempt_at) END,
        round = chat_front_round(),
        last_error = crash_loop_error,
        last_error_detail = CASE WHEN crash_loop_error IS NOT NULL THEN jsonb_build_object(
            'kind', 'crash_loop', 'message', crash_loop_error,
            'provider', NULL, 'model', NULL, 'status_code', NULL, 'retryable', false,
            'attempts', reclaimed.recoveries, 'at', clock_timestamp()) END,
        recoveries = CASE WHEN crash_loop_error IS NULL THEN reclaimed.recoveries ELSE 0 END,
        attempts = CASE WHEN crash_loop_error IS NULL THEN c.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN crash_loop_error IS NULL THEN c.next_attempt_at END,
        turn_deadline_at = CASE WHEN crash_loop_error IS NULL THEN c.turn_deadline_at END,
        lapsed_worker_id = CASE WHEN reclaimed.reason = 'lease_expired' THEN c.worker_id END,
        lapsed_step = CASE WHEN reclaimed.reason = 'lease_expired' THEN c.committed_steps END,
        compaction_request = CASE WHEN crash_loop_error IS NULL THEN c.compaction_request END,
        settled_part = c.settled_part + 1,
        stored_bytes = c.stored_bytes + COALESCE((
            SELECT pg_column_size(content) FROM closed_calls WHERE closed_calls.id = c.id), 0),
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    FROM reclaimed WHERE c.id = reclaimed.id
    RETURNING c.*, reclaimed.reason
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated JOIN closed_calls ON closed_calls.id = updated.id
    WHERE content IS NOT NULL
    RETURNING *
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT id, version, 'reap', status, epoch, :worker_id, jsonb_strip_nulls(jsonb_build_object(
        'reason', reason, 'recoveries', recoveries, 'settled_part', settled_part,
        'messages', (SELECT jsonb_agg(inserted.id) FROM inserted
                     WHERE inserted.chat_id = updated.id)))
        || CASE WHEN last_error IS NULL THEN '{}' ELSE jsonb_build_object(
            'last_error', last_error, 'last_error_detail', last_error_detail) END
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted
        WHERE inserted.chat_id = updated.id) AS messages
FROM updated JOIN journal_entry ON journal_entry.chat_id = updated.id;

-- name: orphaned_interrupts
-- Read interrupting chats of dead workers, with what was streamed of their answers, so that each
-- can be finished.
WITH targets AS MATERIALIZED (
    SELECT t.worker_id, t.chat_id, t.epoch
    FROM unnest(:worker_ids::uuid[], :heartbeats::timestamptz[], :chat_ids::uuid[],
                :epochs::bigint[])
        AS t (worker_id, heartbeat_at, chat_id, epoch)
    LEFT JOIN workers w ON w.worker_id = t.worker_id
    WHERE (t.chat_id IS NOT NULL AND t.heartbeat_at IS NULL)
       OR w.heartbeat_at IS NOT DISTINCT FROM t.heartbeat_at
)
SELECT c.id, c.worker_id, c.epoch, c.committed_steps, c.last_model_config_id,
       c.settled_part,
       (SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part)
        FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first_part > c.settled_part) AS batches,
       (SELECT COALESCE(max(p.last_part), c.settled_part) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch) AS last_part
FROM targets JOIN chats c ON c.worker_id = targets.worker_id
WHERE c.status = 'interrupting'
  AND (targets.chat_id IS NULL OR (c.id = targets.chat_id AND c.epoch = targets.epoch))
  AND c.id <> ALL(:excluded::uuid[])
ORDER BY c.id LIMIT :limit;

-- name: chats_of_workers
-- Read which chats the given workers hold, because a statement about all of them failed.
SELECT id, worker_id, epoch FROM chats
WHERE worker_id = ANY(:worker_ids::uuid[]) AND id <> ALL(:excluded::uuid[])
ORDER BY id LIMIT :limit;
