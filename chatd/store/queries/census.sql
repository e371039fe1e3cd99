-- What operators want to know of all processes together; asked every few seconds by each of them, so
-- it reads indexes only, and nothing that grows with the history.

-- name: census
-- Chats by status, the first in line, who works, and what the server is. Chats at rest are many, and
-- are counted as all that there are without the others: exactly while the table is small, else as the
-- planner estimates it.
-- $1 seconds without a beat after which a worker counts no more, $2 bytes of a table that is small
WITH owned AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE status = 'running') AS running,
           count(*) FILTER (WHERE status = 'interrupting') AS interrupting
    FROM chats WHERE worker_id IS NOT NULL
), counted AS MATERIALIZED (
    SELECT (SELECT count(*) FROM chats WHERE status = 'pending') AS pending,
           (SELECT count(*) FROM chats WHERE status = 'requires_action') AS requires_action,
           (SELECT count(*) FROM chats WHERE status = 'error') AS error,
           CASE WHEN pg_relation_size('chats') <= $2 THEN (SELECT count(*) FROM chats)
                ELSE (SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = 'chats'::regclass)
           END AS chats
)
SELECT pending, running, interrupting, requires_action, error,
       GREATEST(chats - pending - running - interrupting - requires_action - error, 0) AS waiting,
       EXTRACT(EPOCH FROM clock_timestamp()
               - (SELECT min(pending_since) FROM chats WHERE status = 'pending'))::float8 AS oldest_pending,
       (SELECT count(*) FROM workers
        WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $1)) AS workers,
       current_setting('server_version') AS server_version
FROM owned, counted;
