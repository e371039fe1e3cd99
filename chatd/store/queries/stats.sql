-- Figures of the whole database for operators. Every process reads them every few seconds, so these
-- statements read indexes only, and nothing that grows with the history.

-- name: collect
-- Count chats by status and workers that are alive, and read for how long the oldest pending chat
-- could have been claimed (not a deferred one that is not due). Pending chats are apart by what
-- they wait for. One that is deferred and held waits for its time first.
-- Waiting chats are the total without all others: the exact total while the table has at most
-- `:exact_count_max_bytes`, else the planner's estimate. A worker is alive within
-- `:lease_seconds` of its last heartbeat.
WITH leased AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE status = 'running') AS running,
           count(*) FILTER (WHERE status = 'interrupting') AS interrupting
    FROM chats WHERE worker_id IS NOT NULL
), line AS MATERIALIZED (
    SELECT count(*) AS due FROM chats
    WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
), returned AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE pending_since <= statement_timestamp()) AS due,
           count(*) FILTER (WHERE pending_since > statement_timestamp()) AS deferred
    FROM chats
    WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
), held AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE pending_since <= statement_timestamp()) AS due,
           count(*) FILTER (WHERE pending_since > statement_timestamp()) AS deferred
    FROM chats WHERE held
), counted AS MATERIALIZED (
    SELECT line.due + returned.due AS pending_due,
           returned.deferred + held.deferred AS pending_deferred,
           held.due AS pending_held,
           line.due + returned.due + returned.deferred + held.due + held.deferred AS pending,
           (SELECT count(*) FROM chats WHERE status = 'requires_action') AS requires_action,
           (SELECT count(*) FROM chats WHERE status = 'parked') AS parked,
           (SELECT count(*) FROM chats WHERE status = 'error') AS error,
           CASE WHEN pg_relation_size('chats') <= :exact_count_max_bytes
                THEN (SELECT count(*) FROM chats)
                ELSE (SELECT GREATEST(reltuples, 0)::bigint FROM pg_class
                      WHERE oid = 'chats'::regclass)
           END AS chats
    FROM line, returned, held
)
SELECT pending, pending_due, pending_deferred, pending_held,
       running, interrupting, requires_action, parked, error,
       GREATEST(chats - pending - running - interrupting - requires_action - parked - error, 0)
           AS waiting,
       EXTRACT(EPOCH FROM clock_timestamp() - (
           SELECT min(LEAST(oldest.pending_since, clock_timestamp()))
           FROM chat_model_configs m CROSS JOIN LATERAL (
               (SELECT pending_since FROM chats
                WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
                  AND last_model_config_id = m.id
                ORDER BY pending_since LIMIT 1)
               UNION ALL
               (SELECT pending_since FROM chats
                WHERE status = 'pending' AND NOT held
                  AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
                  AND last_model_config_id = m.id
                ORDER BY recoveries, pending_since LIMIT 1)
           ) oldest
       ))::float8 AS oldest_pending_seconds,
       (SELECT count(*) FROM workers
        WHERE heartbeat_at > clock_timestamp() - make_interval(secs => :lease_seconds)) AS workers,
       current_setting('server_version') AS server_version
FROM leased, counted;
