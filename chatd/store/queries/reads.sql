-- What callers read. Another owner's chat is not there.

-- name: chat
-- $1 chat, $2 owner (null: anybody)
SELECT * FROM chats WHERE id = $1 AND owner_id = COALESCE($2, owner_id);

-- name: messages_after
-- $1 chat, $2 id, $3 most
SELECT * FROM chat_messages
WHERE chat_id = $1 AND id > $2 AND superseded_version IS NULL AND visibility <> 'model'
ORDER BY id LIMIT $3;

-- name: messages_before
-- The latest ones before an id, oldest first.
-- $1 chat, $2 id, $3 most
SELECT * FROM (
    SELECT * FROM chat_messages
    WHERE chat_id = $1 AND id < $2 AND superseded_version IS NULL AND visibility <> 'model'
    ORDER BY id DESC LIMIT $3
) latest ORDER BY id;

-- name: queue
-- $1 chat
SELECT chat_id, id, content, model_config_id, created_at FROM chat_queued_messages
WHERE chat_id = $1 ORDER BY position, id;

-- name: entries
-- $1 chat, $2 after version, $3 most
SELECT * FROM chat_events WHERE chat_id = $1 AND version > $2 ORDER BY version LIMIT $3;

-- name: explain
-- All that is known of why a chat is where it is, as of one moment. The line is counted up to a bound.
-- $1 chat, $2 owner (null: anybody), $3 stale after seconds, $4 most that are counted before it
SELECT c.*, clock_timestamp() AS now,
       w.host, w.pid, w.version AS worker_version, w.started_at AS worker_started_at,
       w.heartbeat_at AS worker_heartbeat_at,
       CASE WHEN c.status = 'error' THEN c.last_error_detail
            WHEN c.attempts > 0 THEN (
                SELECT e.data->'failure' FROM chat_events e
                WHERE e.chat_id = c.id AND e.move = 'record_retry' ORDER BY e.version DESC LIMIT 1)
       END AS last_failure,
       (SELECT count(*) FROM (
           SELECT FROM chats p WHERE p.status = 'pending' AND p.pending_since < c.pending_since LIMIT $4
       ) before) AS ahead,
       floor.alive, floor.with_room, floor.room, floor.last_beat_at
FROM chats c
LEFT JOIN workers w ON w.worker_id = c.worker_id
CROSS JOIN (
    SELECT count(*) FILTER (WHERE beats) AS alive,
           count(*) FILTER (WHERE beats AND room > 0) AS with_room,
           COALESCE(sum(room) FILTER (WHERE beats AND room > 0), 0)::bigint AS room,
           max(heartbeat_at) AS last_beat_at
    FROM (
        SELECT heartbeat_at,
               heartbeat_at > clock_timestamp() - make_interval(secs => $3) AS beats,
               max_chats - (SELECT count(*) FROM chats o WHERE o.worker_id = workers.worker_id) AS room
        FROM workers
    ) each
) floor
WHERE c.id = $1 AND c.owner_id = COALESCE($2, c.owner_id);

-- name: ping
SELECT 1;
