-- Leases: renewing chats, and reclaiming them from dead workers. They use the clock of the
-- database, and clock_timestamp() rather than the start of the transaction.
--
-- A worker is dead when its session lock is free (only if `:trust_free_locks`), and its lease is
-- over after `:lease_seconds` without a heartbeat. Either is enough to reclaim a chat.

-- name: deregister
DELETE FROM workers WHERE worker_id = :worker_id;

-- name: try_worker_lock
-- Take the worker's lock in this session: the proof that it lives, freed with its process or its
-- connection. A reaper that checks the lock holds it for one statement at most, so try again
-- when it is taken. Take it once only, because the same session may take it repeatedly and would
-- have to free it as often.
SELECT pg_try_advisory_lock(hashtextextended(:worker_id::text, 0));

-- name: terminate_stale_session
-- Terminate an earlier session of this worker that still holds its lock. When the network loses
-- the end of a connection, the server may not notice for hours. A reaper that checks the lock is
-- inside a statement, so a holder that is idle is such a session.
SELECT pg_terminate_backend(l.pid)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(:worker_id::text, 0)
  AND a.state = 'idle' AND l.pid <> pg_backend_pid();

-- name: renew
-- Record one heartbeat: of the worker's row, which is inserted again if it was pruned while the
-- process was frozen, and of the given leased chats with their activity. A chat that is missing
-- from the result is lost. Only the given chats are renewed, so that a chat that was claimed by
-- a statement whose result was lost expires.
WITH registration AS (
    INSERT INTO workers (worker_id, host, pid, version, max_chats, models)
    VALUES (:worker_id, :host, :pid, :version, :max_chats, :models)
    ON CONFLICT (worker_id) DO UPDATE SET
        heartbeat_at = clock_timestamp(),
        max_chats = EXCLUDED.max_chats,
        models = EXCLUDED.models
)
UPDATE chats c SET
    heartbeat_at = clock_timestamp(),
    activity = jsonb_strip_nulls(jsonb_build_object(
        'epoch', lease.epoch,
        'stage', lease.stage,
        'started_at', clock_timestamp() - make_interval(secs => lease.seconds),
        'deadline_at',
        clock_timestamp() + make_interval(secs => LEAST(lease.seconds_left, 1e9))))
FROM unnest(:chat_ids::uuid[], :epochs::bigint[], :stages::text[], :stage_seconds::float8[],
            :stage_seconds_left::float8[])
    AS lease (id, epoch, stage, seconds, seconds_left)
WHERE c.id = lease.id AND c.worker_id = :worker_id
RETURNING c.id, c.epoch, c.version, c.status;

-- name: leased_chats
-- Read the chats that a worker holds. A worker reads this once, when it stops.
SELECT chat_columns(chats) FROM chats WHERE worker_id = :worker_id;

-- name: find_reapable
-- Return whether there is work for a reaper: running chats and interrupting chats of dead
-- workers, and chats whose client missed its deadline. Every process asks every second, so the
-- result is small.
WITH dead AS MATERIALIZED (
    SELECT worker_id FROM chat_dead_workers(:worker_id) AS d (worker_id) WHERE :trust_free_locks
)
SELECT COALESCE(bool_or(c.status = 'running'), false) AS running,
       COALESCE(bool_or(c.status = 'interrupting'), false) AS interrupting,
       COALESCE((SELECT min(action_deadline) FROM chats WHERE status = 'requires_action')
                < clock_timestamp(), false) AS overdue
FROM chats c LEFT JOIN dead ON dead.worker_id = c.worker_id
WHERE c.worker_id IS NOT NULL
  AND (dead.worker_id IS NOT NULL
       OR c.heartbeat_at < clock_timestamp() - make_interval(secs => :lease_seconds));

-- name: reap
-- Make running chats of dead workers pending again, with errors cleared. A chat that was reclaimed
-- `:max_recoveries` times without progress fails with the kind crash_loop instead.
WITH dead AS MATERIALIZED (
    SELECT worker_id FROM chat_dead_workers(:worker_id) AS d (worker_id) WHERE :trust_free_locks
), reclaimed AS MATERIALIZED (
    SELECT c.id, dead.worker_id IS NOT NULL AS worker_dead, c.recoveries + 1 AS recoveries,
           CASE WHEN c.recoveries >= :max_recoveries THEN
               'chat given up: its worker died ' || c.recoveries + 1 || ' times without progress'
           END AS crash_loop_error
    FROM chats c LEFT JOIN dead ON dead.worker_id = c.worker_id
    WHERE c.worker_id IS NOT NULL AND c.status = 'running'
      AND (dead.worker_id IS NOT NULL
           OR c.heartbeat_at < clock_timestamp() - make_interval(secs => :lease_seconds))
    ORDER BY c.id LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
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
        settled_part = c.settled_part + 1,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    FROM reclaimed WHERE c.id = reclaimed.id
    RETURNING c.*, reclaimed.worker_dead
), deleted_parts AS (
    DELETE FROM chat_parts p USING updated WHERE p.chat_id = updated.id
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id, data)
    SELECT id, version, 'reap', status, epoch, :worker_id, jsonb_strip_nulls(jsonb_build_object(
        'reason', CASE WHEN worker_dead THEN 'worker_dead' ELSE 'lease_expired' END,
        'recoveries', recoveries, 'settled_part', settled_part))
        || CASE WHEN last_error IS NULL THEN '{}' ELSE jsonb_build_object(
            'last_error', last_error, 'last_error_detail', last_error_detail) END
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages
FROM updated JOIN journal_entry ON journal_entry.chat_id = updated.id;

-- name: orphaned_interrupts
-- Read interrupting chats of dead workers, with what was streamed of their answers, so that each
-- can be finished. When `:lease_seconds` is null, read those of `:worker_id` itself, which is
-- stopping.
WITH dead AS MATERIALIZED (
    SELECT worker_id FROM chat_dead_workers(:worker_id) AS d (worker_id) WHERE :trust_free_locks
)
SELECT c.id, c.worker_id, c.epoch, c.committed_steps, c.last_model_config_id,
       c.settled_part,
       (SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part)
        FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first_part > c.settled_part) AS batches,
       (SELECT COALESCE(max(p.last_part), c.settled_part) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch) AS last_part
FROM chats c LEFT JOIN dead ON dead.worker_id = c.worker_id
WHERE c.worker_id IS NOT NULL AND c.status = 'interrupting'
  AND CASE WHEN :lease_seconds::float8 IS NULL THEN c.worker_id = :worker_id
      ELSE dead.worker_id IS NOT NULL
           OR c.heartbeat_at < clock_timestamp() - make_interval(secs => :lease_seconds) END
ORDER BY c.id LIMIT :limit;

-- name: prune_workers
-- Delete the rows of processes that ended without deregistering and hold no lease.
DELETE FROM workers w
WHERE heartbeat_at < clock_timestamp() - make_interval(secs => :silent_seconds)
  AND NOT EXISTS (SELECT FROM chats c WHERE c.worker_id = w.worker_id);
