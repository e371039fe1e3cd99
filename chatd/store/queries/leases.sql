-- Leases: workers renew theirs. They use the clock of the database, and clock_timestamp() rather
-- than the start of the transaction.
--
-- A worker has one lease, which is its row in `workers`, and each leased chat names its worker.

-- name: register
-- Write the row of a worker, which renews its lease. A worker registers when it connects and when
-- these values change. Its row may have been pruned while the process was frozen.
INSERT INTO workers (worker_id, host, pid, version, max_chats, models, lock_proved)
VALUES (:worker_id, :host, :pid, :version, :max_chats, :models, :lock_proved)
ON CONFLICT (worker_id) DO UPDATE SET
    heartbeat_at = clock_timestamp(),
    max_chats = EXCLUDED.max_chats,
    models = EXCLUDED.models,
    lock_proved = EXCLUDED.lock_proved;

-- name: deregister
DELETE FROM workers WHERE worker_id = :worker_id;

-- name: backend_pid
-- Read the process id of the session that runs this statement.
SELECT pg_backend_pid();

-- name: try_worker_lock
-- Take the worker's lock in this session: the proof that it lives, freed with its process or its
-- connection. A reaper that checks the lock holds it for one statement at most, so try again
-- when it is taken. Take it once only, because the same session may take it repeatedly and would
-- have to free it as often.
SELECT pg_try_advisory_lock(hashtextextended(:worker_id::text, 0));

-- name: worker_lock_holder
-- Read the process id of the session that holds a worker's lock, and that of this session.
SELECT pg_backend_pid() AS here,
       (SELECT l.pid FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.mode = 'ExclusiveLock'
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint
              = hashtextextended(:worker_id::text, 0)) AS holder;

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
-- Renew the lease of a worker, which is one row. No lock on a chat is waited for. Return the chats
-- that name the worker, so that it sees which of its chats are lost or asked to stop, and in each
-- row whether it is to drain. One row without a chat: it has none. No row: the worker is not
-- registered.
WITH renewed AS (
    UPDATE workers SET heartbeat_at = clock_timestamp() WHERE worker_id = :worker_id
    RETURNING worker_id, draining
)
SELECT renewed.draining, c.id, c.epoch, c.version, c.status
FROM renewed LEFT JOIN chats c ON c.worker_id = :worker_id;

-- name: report_activity
-- Record what the tasks of leased chats are doing and when they last made progress. A chat that
-- is locked is skipped, and reported with the next report.
WITH unlocked AS MATERIALIZED (
    SELECT c.id, report.epoch, report.stage, report.stage_seconds, report.seconds_left,
           report.progress_seconds
    FROM unnest(:chat_ids::uuid[], :epochs::bigint[], :stages::text[], :stage_seconds::float8[],
                :stage_seconds_left::float8[], :progress_seconds::float8[])
        AS report (id, epoch, stage, stage_seconds, seconds_left, progress_seconds)
    JOIN chats c ON c.id = report.id AND c.epoch = report.epoch
    WHERE c.worker_id = :worker_id
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE chats c SET
    heartbeat_at = clock_timestamp() - make_interval(secs => unlocked.progress_seconds),
    activity = jsonb_strip_nulls(jsonb_build_object(
        'epoch', unlocked.epoch,
        'stage', unlocked.stage,
        'started_at',
        date_trunc('second', clock_timestamp() - make_interval(secs => unlocked.stage_seconds)),
        'deadline_at',
        clock_timestamp() + make_interval(secs => LEAST(unlocked.seconds_left, 1e9))))
FROM unlocked WHERE c.id = unlocked.id
RETURNING c.id, c.epoch;

-- name: leased_chats
-- Read the chats that a worker holds. A worker reads this once, when it stops.
SELECT chat_columns(chats) FROM chats WHERE worker_id = :worker_id;

-- name: prune_workers
-- Delete the rows of processes that ended without deregistering and hold no lease.
DELETE FROM workers w
WHERE heartbeat_at < clock_timestamp() - make_interval(secs => :silent_seconds)
  AND NOT EXISTS (SELECT FROM chats c WHERE c.worker_id = w.worker_id);
