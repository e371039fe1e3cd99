-- The fleet, for operators who ask for it. No statement reads more chats of one status than
-- `:sample`, each through the partial index of that status, and none reads messages.

-- name: workers
-- Read the workers, those with the latest heartbeat first.
SELECT w.worker_id, w.host, w.pid, w.version, w.max_chats, w.lock_proved, w.draining,
       w.started_at, w.heartbeat_at, clock_timestamp() AS now,
       EXTRACT(EPOCH FROM clock_timestamp() - w.heartbeat_at)::float8 AS lease_age_seconds,
       (SELECT count(*) FROM chats c WHERE c.worker_id = w.worker_id) AS leased_chats,
       (SELECT array_agg(m.name ORDER BY m.name) FROM chat_model_configs m
        WHERE m.id = ANY(w.models)) AS models
FROM workers w ORDER BY w.heartbeat_at DESC, w.worker_id LIMIT :limit;

-- name: set_draining
-- Ask a worker to drain, or to claim again. It reads this with its next heartbeat.
UPDATE workers SET draining = :draining WHERE worker_id = :worker_id
RETURNING worker_id;

-- name: statuses
-- Count the active chats of each status by age: of each range between two bounds that has any.
SELECT a.status, width_bucket(age.seconds, :age_bounds::float8[]) AS age, count(*) AS chats,
       max(age.seconds) AS oldest_seconds
FROM chat_active_sample(:sample) a
CROSS JOIN LATERAL (
    SELECT GREATEST(EXTRACT(EPOCH FROM clock_timestamp() - a.since), 0)::float8 AS seconds
) age
GROUP BY 1, 2;

-- name: owners
-- Count the pending chats of the owners that have most of them. A chat that is not due has no age.
SELECT a.owner_id, count(*) AS pending, count(*) FILTER (WHERE a.held) AS is_held,
       GREATEST(EXTRACT(EPOCH FROM clock_timestamp() - min(a.since)), 0)::float8 AS oldest_seconds
FROM chat_active_sample(:sample) a
WHERE a.status = 'pending'
GROUP BY a.owner_id ORDER BY pending DESC, a.owner_id LIMIT :limit;

-- name: stages
-- Group the leased chats by the stage that their workers last reported, the slowest first.
SELECT stage, count(*) AS chats, max(seconds) AS slowest_seconds,
       (array_agg(id ORDER BY seconds DESC, id))[1] AS slowest_chat_id
FROM (
    SELECT c.id, c.activity->>'stage' AS stage,
           GREATEST(EXTRACT(EPOCH FROM clock_timestamp()
                            - (c.activity->>'started_at')::timestamptz), 0)::float8 AS seconds
    FROM (SELECT * FROM chats WHERE worker_id IS NOT NULL LIMIT :sample) c
    WHERE (c.activity->>'epoch')::bigint = c.epoch AND c.activity ? 'stage'
      AND c.activity ? 'started_at'
) staged
GROUP BY stage ORDER BY slowest_seconds DESC, stage LIMIT :limit;

-- name: chats
-- Read active chats of these statuses, those that have been in it for longest first.
SELECT c.id, c.owner_id, c.parent_chat_id AS parent_id, c.status, c.archived, a.since,
       a.held AS is_held,
       GREATEST(EXTRACT(EPOCH FROM clock_timestamp() - a.since), 0)::float8 AS seconds,
       m.name AS model, c.worker_id, c.epoch, c.attempts, c.recoveries, c.queue_length,
       reported.stage, reported.stage_seconds, c.last_error_detail->>'kind' AS failure_kind
FROM chat_active_sample(:sample) a
JOIN chats c ON c.id = a.id
JOIN chat_model_configs m ON m.id = c.last_model_config_id
LEFT JOIN LATERAL (
    SELECT c.activity->>'stage' AS stage,
           GREATEST(EXTRACT(EPOCH FROM clock_timestamp()
                            - (c.activity->>'started_at')::timestamptz), 0)::float8
               AS stage_seconds
    WHERE c.worker_id IS NOT NULL AND (c.activity->>'epoch')::bigint = c.epoch
) reported ON true
WHERE a.status = ANY(:statuses::text[])
  AND (:owner_id::text IS NULL OR a.owner_id = :owner_id)
ORDER BY a.since, a.id LIMIT :limit;

-- name: chat
-- Read one chat of any owner, in any status.
SELECT c.id, c.owner_id, c.parent_chat_id AS parent_id, c.status, c.archived, c.held AS is_held,
       since.since,
       GREATEST(EXTRACT(EPOCH FROM clock_timestamp() - since.since), 0)::float8 AS seconds,
       m.name AS model, c.worker_id, c.epoch, c.attempts, c.recoveries, c.queue_length,
       NULL::text AS stage, NULL::float8 AS stage_seconds,
       c.last_error_detail->>'kind' AS failure_kind
FROM chats c JOIN chat_model_configs m ON m.id = c.last_model_config_id
CROSS JOIN LATERAL (
    SELECT COALESCE(c.pending_since, c.started_at, c.updated_at) AS since
) since
WHERE c.id = :chat_id;
