-- Idempotency keys: execute a request once and replay the stored response for repeats. The
-- statement of the transition stores the response.

-- name: lookup
-- Read the response to the request that was made with this key. It is null when the chat was
-- deleted.
SELECT request_hash, chat_id, response FROM idempotency_keys
WHERE owner_id = :owner_id AND key = :key;

-- name: prune
-- Delete keys past their retention.
WITH expired AS MATERIALIZED (
    SELECT owner_id, key FROM idempotency_keys
    WHERE created_at < clock_timestamp() - make_interval(secs => :retention_hours::float8 * 3600)
    LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING expired
WHERE k.owner_id = expired.owner_id AND k.key = expired.key
RETURNING 1;
