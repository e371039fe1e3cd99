-- Idempotency keys: execute a request once, and answer repeats from the same rows. The statement of
-- the transition stores which rows these are: their ids, and nothing of their content.

-- name: lookup
-- Read what the response to the request with this key was made of, as it is now. A chat that was
-- deleted is null, and so is a queued message that has left the queue.
SELECT k.request_hash, k.chat_id AS key_chat_id, k.created_at AS key_created_at, k.queued_id,
       chat_columns(c),
       e.version AS entry_version, e.created_at AS entry_created_at, e.status AS entry_status,
       e.epoch AS entry_epoch, e.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id) FROM chat_messages m
        WHERE m.chat_id = k.chat_id AND m.id = ANY (k.message_ids)) AS messages,
       (SELECT to_jsonb(q) FROM chat_queued_messages q
        WHERE q.chat_id = k.chat_id AND q.id = k.queued_id) AS queued
FROM idempotency_keys k
LEFT JOIN chats c ON c.id = k.chat_id
LEFT JOIN chat_events e ON e.chat_id = k.chat_id AND e.version = k.version
WHERE k.owner_id = :owner_id AND k.key = :key;
