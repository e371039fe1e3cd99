-- Requests that may be said again. A move that was asked with a key keeps its answer in the same
-- statement; a duplicate that runs at the same moment fails on the primary key, and changes nothing.

-- name: kept
-- The answer to a request that was made with this key; null when the chat was deleted since.
-- $1 owner, $2 key
SELECT fingerprint, chat_id, answer FROM idempotency_keys WHERE owner_id = $1 AND key = $2;

-- name: forget_keys
-- $1 hours, $2 most rows
WITH old AS MATERIALIZED (
    SELECT owner_id, key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(secs => $1 * 3600)
    LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING old WHERE k.owner_id = old.owner_id AND k.key = old.key
RETURNING 1;
