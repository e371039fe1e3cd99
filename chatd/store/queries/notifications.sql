-- Hints to other processes that something changed.

-- name: notify
-- Send hints, in a transaction of their own, after the transitions that they announce have
-- committed.
SELECT pg_notify('chatd', payload) FROM unnest(:payloads::text[]) AS hint (payload);
