-- Owning a chat: claiming, renewing, and taking from those who are gone. Leases use the database's
-- clock, and the clock of this moment rather than of the transaction's start.

-- name: enter
-- This process as a row of `workers`.
-- $1 worker, $2 host, $3 pid, $4 version, $5 most chats at once
INSERT INTO workers (worker_id, host, pid, version, max_chats) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = clock_timestamp();

-- name: leave
-- $1 worker
DELETE FROM workers WHERE worker_id = $1;

-- name: hold_own_lock
-- The proof of life: a lock of this session, free the moment the process or its connection is gone.
-- A reaper that tries it holds it for one statement at most, so ask again when it is taken; and
-- never twice, as each time would count.
-- $1 worker
SELECT pg_try_advisory_lock(hashtextextended($1::text, 0));

-- name: end_ghost
-- End an earlier session of this worker that still holds its lock: when the network swallows the end
-- of a connection, the server may not miss it for hours. A reaper that looks at the lock is in the
-- middle of a statement, so who holds it and is idle is a ghost.
-- $1 worker
SELECT pg_terminate_backend(l.pid)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1::text, 0)
  AND a.state = 'idle' AND l.pid <> pg_backend_pid();

-- name: acquire
-- Claim pending chats, longest waiting first; rows that another claims at this moment are passed by.
-- A chat that was taken from the dead keeps the trace of its first owner's claim.
-- $1 worker, $2 most, $3 trace of this claim
WITH due AS MATERIALIZED (
    SELECT id, updated_at AS since FROM chats WHERE status = 'pending'
    ORDER BY pending_since LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'running',
        worker_id = $1,
        epoch = c.epoch + 1,
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        pending_since = NULL,
        parts_done = 0,
        claimed_in = CASE WHEN c.recoveries > 0 THEN c.claimed_in ELSE $3 END
    FROM due WHERE c.id = due.id
    RETURNING c.*, due.since
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id)
    SELECT id, version, 'acquire', status, epoch, worker_id FROM chat
    RETURNING chat_id, at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data,
       NULL::jsonb AS messages,
       EXTRACT(EPOCH FROM chat.next_attempt_at - clock_timestamp())::float8 AS next_attempt_in,
       EXTRACT(EPOCH FROM chat.started_at - chat.since)::float8 AS waited
FROM chat JOIN event ON event.chat_id = chat.id;

-- name: renew
-- One beat for the chats in hand, with what each is doing, for those who ask why it takes so long. Who
-- is missing from the answer is lost. Only chats in hand are renewed: one that was claimed by a
-- statement whose answer never came runs out by itself.
-- $1 worker, $2 chats, $3 epochs, $4 zones, $5 seconds in the zone, $6 seconds until it is cut
WITH alive AS (
    UPDATE workers SET heartbeat_at = clock_timestamp() WHERE worker_id = $1
)
UPDATE chats c SET
    heartbeat_at = clock_timestamp(),
    doing = jsonb_strip_nulls(jsonb_build_object(
        'epoch', hand.epoch,
        'zone', hand.zone,
        'since', clock_timestamp() - make_interval(secs => hand.seconds),
        'until', clock_timestamp() + make_interval(secs => LEAST(hand.seconds_left, 1e9))))
FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::float8[], $6::float8[])
    AS hand (id, epoch, zone, seconds, seconds_left)
WHERE c.id = hand.id AND c.worker_id = $1
RETURNING c.id, c.epoch, c.version, c.status;

-- name: owned
-- What a process still owns, by its name; asked once, when it stops.
-- $1 worker
SELECT * FROM chats WHERE worker_id = $1;

-- name: look
-- Whether anybody's chats wait for a reaper: running ones, interrupting ones, ones whose client took
-- too long. Asked every second by every process, so it says as little as can be.
-- $1 worker (the reaper's own), $2 stale after seconds, $3 whether a free lock tells that its worker is gone
WITH gone AS MATERIALIZED (
    SELECT worker_id FROM chat_gone_workers($1) AS g (worker_id) WHERE $3
)
SELECT COALESCE(bool_or(c.status = 'running'), false) AS running,
       COALESCE(bool_or(c.status = 'interrupting'), false) AS interrupting,
       COALESCE((SELECT min(action_deadline) FROM chats WHERE status = 'requires_action')
                < clock_timestamp(), false) AS overdue
FROM chats c LEFT JOIN gone ON gone.worker_id = c.worker_id
WHERE c.worker_id IS NOT NULL
  AND (gone.worker_id IS NOT NULL
       OR c.heartbeat_at < clock_timestamp() - make_interval(secs => $2));

-- name: reap
-- Chats whose owner is gone are pending again, with errors cleared. Gone is who let go of its lock,
-- or did not renew for too long. A chat that was taken too often without any progress is given up.
-- $1 worker (the reaper's own), $2 stale after seconds, $3 whether a free lock tells, $4 most recoveries,
-- $5 most chats
WITH gone AS MATERIALIZED (
    SELECT worker_id FROM chat_gone_workers($1) AS g (worker_id) WHERE $3
), stale AS MATERIALIZED (
    SELECT c.id, gone.worker_id IS NOT NULL AS owner_gone, c.recoveries + 1 AS deaths,
           CASE WHEN c.recoveries >= $4 THEN
               'chat given up: its worker died ' || c.recoveries + 1 || ' times without progress'
           END AS given_up
    FROM chats c LEFT JOIN gone ON gone.worker_id = c.worker_id
    WHERE c.worker_id IS NOT NULL AND c.status = 'running'
      AND (gone.worker_id IS NOT NULL
           OR c.heartbeat_at < clock_timestamp() - make_interval(secs => $2))
    ORDER BY c.id LIMIT $5 FOR NO KEY UPDATE OF c SKIP LOCKED
), chat AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE WHEN given_up IS NULL THEN 'pending' ELSE 'error' END,
        pending_since = CASE WHEN given_up IS NULL THEN c.started_at END,
        last_error = given_up,
        last_error_detail = CASE WHEN given_up IS NOT NULL THEN jsonb_build_object(
            'kind', 'crash_loop', 'message', given_up,
            'provider', NULL, 'model', NULL, 'status_code', NULL, 'retryable', false,
            'attempts', deaths, 'at', clock_timestamp()) END,
        recoveries = CASE WHEN given_up IS NULL THEN deaths ELSE 0 END,
        attempts = CASE WHEN given_up IS NULL THEN c.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN given_up IS NULL THEN c.next_attempt_at END,
        parts_done = c.parts_done + 1,
        worker_id = NULL,
        started_at = NULL,
        heartbeat_at = NULL
    FROM stale WHERE c.id = stale.id
    RETURNING c.*, stale.owner_gone
), cleared AS (
    DELETE FROM chat_parts p USING chat WHERE p.chat_id = chat.id
), event AS (
    INSERT INTO chat_events (chat_id, version, move, status, epoch, worker_id, data)
    SELECT id, version, 'reap', status, epoch, $1, jsonb_strip_nulls(jsonb_build_object(
        'reason', CASE WHEN owner_gone THEN 'owner_gone' ELSE 'lease_expired' END,
        'recoveries', recoveries, 'parts_done', parts_done))
        || CASE WHEN last_error IS NULL THEN '{}' ELSE jsonb_build_object(
            'last_error', last_error, 'last_error_detail', last_error_detail) END
    FROM chat
    RETURNING chat_id, at, data
)
SELECT 'done' AS outcome, chat.*, event.at AS event_at, event.data AS event_data, NULL::jsonb AS messages
FROM chat JOIN event ON event.chat_id = chat.id;

-- name: stale_interrupting
-- Interrupting chats whose owner is gone, with what it had streamed; each is then finished.
-- $1 worker (the reaper's own), $2 stale after seconds, $3 whether a free lock tells, $4 most chats
WITH gone AS MATERIALIZED (
    SELECT worker_id FROM chat_gone_workers($1) AS g (worker_id) WHERE $3
)
SELECT c.id, c.worker_id, c.epoch, c.step, c.last_model_config_id,
       c.parts_done,
       (SELECT jsonb_agg(jsonb_build_array(p.first, p.parts) ORDER BY p.last) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first > c.parts_done) AS batches,
       (SELECT COALESCE(max(p.last), c.parts_done) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch) AS last_part
FROM chats c LEFT JOIN gone ON gone.worker_id = c.worker_id
WHERE c.worker_id IS NOT NULL AND c.status = 'interrupting'
  AND (gone.worker_id IS NOT NULL
       OR c.heartbeat_at < clock_timestamp() - make_interval(secs => $2))
ORDER BY c.id LIMIT $4;

-- name: forget_workers
-- Rows of processes that left without saying so, and own nothing.
-- $1 seconds without a beat
DELETE FROM workers w
WHERE heartbeat_at < clock_timestamp() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM chats c WHERE c.worker_id = w.worker_id);
