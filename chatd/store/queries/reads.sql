-- What callers read. The owner is null for a caller that may read everybody's chats; another
-- owner's chat is not found.

-- name: chat
SELECT chat_columns(chats) FROM chats
WHERE id = :chat_id AND owner_id = COALESCE(:owner_id, owner_id);

-- name: chat_with_family
-- Read a chat, and of a root chat what all chats of its family are and have spent together. That is
-- added up each time, by chats_root_idx: a sum in the row of the root would make every turn of the
-- family wait for that row.
SELECT chat_columns(chats), family.*
FROM chats LEFT JOIN LATERAL (
    SELECT count(*) AS family_chats, sum(f.input_tokens)::bigint AS family_input_tokens,
           sum(f.output_tokens)::bigint AS family_output_tokens,
           sum(f.cache_read_tokens)::bigint AS family_cache_read_tokens,
           sum(f.cache_write_tokens)::bigint AS family_cache_write_tokens,
           sum(f.reasoning_tokens)::bigint AS family_reasoning_tokens
    FROM chats f WHERE f.root_chat_id = chats.id
) family ON chats.root_chat_id = chats.id
WHERE chats.id = :chat_id AND chats.owner_id = COALESCE(:owner_id, chats.owner_id);

-- name: messages_after
-- Read the first messages after an id, oldest first: at most `:limit`, which have at most
-- `:max_bytes` together, but one at least. `available` is how many there are, up to one more than
-- the limit.
SELECT m.*, page.available, m.role <> 'system' AND m.id <= compacted.until AS compacted FROM (
    SELECT id, sum(page_bytes) OVER (ORDER BY id) AS total,
           row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS available
    FROM (SELECT id, page_bytes FROM chat_messages
          WHERE chat_id = :chat_id AND id > :message_id
            AND superseded_version IS NULL AND visibility IN ('both', 'user')
          ORDER BY id LIMIT :limit + 1) first
) page
JOIN chat_messages m ON m.chat_id = :chat_id AND m.id = page.id
CROSS JOIN (
    SELECT COALESCE((SELECT covers_until FROM chat_summaries WHERE chat_id = :chat_id
                     ORDER BY covers_until DESC LIMIT 1), 0) AS until
) compacted
WHERE page.number <= :limit AND (page.total <= :max_bytes OR page.number = 1)
ORDER BY m.id;

-- name: messages_before
-- Read the last messages before an id, oldest first, bounded in the same way.
SELECT m.*, page.available, m.role <> 'system' AND m.id <= compacted.until AS compacted FROM (
    SELECT id, sum(page_bytes) OVER (ORDER BY id DESC) AS total,
           row_number() OVER (ORDER BY id DESC) AS number, count(*) OVER () AS available
    FROM (SELECT id, page_bytes FROM chat_messages
          WHERE chat_id = :chat_id AND id < :message_id
            AND superseded_version IS NULL AND visibility IN ('both', 'user')
          ORDER BY id DESC LIMIT :limit + 1) last
) page
JOIN chat_messages m ON m.chat_id = :chat_id AND m.id = page.id
CROSS JOIN (
    SELECT COALESCE((SELECT covers_until FROM chat_summaries WHERE chat_id = :chat_id
                     ORDER BY covers_until DESC LIMIT 1), 0) AS until
) compacted
WHERE page.number <= :limit AND (page.total <= :max_bytes OR page.number = 1)
ORDER BY m.id;

-- name: message_by_client_key
-- Read a chat, and the user's message that a client knows by a key, in the history or in the queue.
-- The queue is short, so it has no index.
SELECT chat_columns(chats),
       (SELECT to_jsonb(m) FROM chat_messages m
        WHERE m.chat_id = chats.id AND m.content->0->>'client' = :client_key
          AND m.superseded_version IS NULL
        ORDER BY m.id DESC LIMIT 1) AS message,
       (SELECT to_jsonb(q) FROM chat_queued_messages q
        WHERE q.chat_id = chats.id AND q.content->0->>'client' = :client_key
        ORDER BY q.position, q.id LIMIT 1) AS queued
FROM chats WHERE id = :chat_id AND owner_id = COALESCE(:owner_id, owner_id);

-- name: queue
-- Read the first queued messages after one of them, in their order, bounded in the same way. After
-- one that has left the queue, the queue begins.
SELECT chat_id, id, content, model_config_id, created_at, available FROM (
    SELECT q.*, sum(page_bytes) OVER (ORDER BY position, id) AS total,
           row_number() OVER (ORDER BY position, id) AS number, count(*) OVER () AS available
    FROM chat_queued_messages q
    WHERE chat_id = :chat_id
      AND (position, id) > (
          SELECT COALESCE(max(position), -9223372036854775808), :queued_id::bigint
          FROM chat_queued_messages WHERE chat_id = :chat_id AND id = :queued_id)
) page
WHERE number <= :limit AND (total <= :max_bytes OR number = 1)
ORDER BY position, id;

-- name: tool_calls
-- Read the ledger of the first messages after an id that call tools, all calls of each: at least
-- `:limit` if there are so many.
SELECT t.message_id, t.tool_call_id, t.tool_name, t.executor, t.policy, t.state, t.tries,
       t.is_error, t.started_at, t.completed_at, clock_timestamp() AS now
FROM (
    SELECT t.* FROM chat_tool_calls t
    JOIN chat_messages m ON m.chat_id = t.chat_id AND m.id = t.message_id
    WHERE t.chat_id = :chat_id AND t.message_id > :message_id
      AND m.superseded_version IS NULL AND m.visibility IN ('both', 'user')
    ORDER BY t.message_id FETCH FIRST (:limit) ROWS WITH TIES
) t
ORDER BY t.message_id, t.position;

-- name: journal
SELECT e.*, c.owner_id FROM chat_events e JOIN chats c ON c.id = e.chat_id
WHERE e.chat_id = :chat_id AND e.version > :version
ORDER BY e.version LIMIT :limit;

-- name: explain
-- Read everything that says why a chat is in its status, as of one moment. Pending chats ahead
-- of it, of any model, are counted up to `:max_ahead`. A worker is alive within `:lease_seconds`
-- of its last heartbeat. Free slots are those of workers that have the chat's model.
SELECT chat_columns(c), c.held, c.activity, clock_timestamp() AS now,
       w.host, w.pid, w.version AS worker_version, w.started_at AS worker_started_at,
       w.heartbeat_at AS worker_heartbeat_at,
       CASE WHEN c.status = 'error' THEN c.last_error_detail
            WHEN c.attempts > 0 THEN (
                SELECT e.data->'failure' FROM chat_events e
                WHERE e.chat_id = c.id AND e.transition IN ('record_retry', 'defer')
                ORDER BY e.version DESC LIMIT 1)
       END AS last_failure,
       (SELECT count(*) FROM (
           SELECT FROM chat_model_configs m CROSS JOIN LATERAL (
               (SELECT FROM chats p
                WHERE p.status = 'pending' AND NOT p.held AND p.recoveries = 0
                  AND p.next_attempt_at IS NULL
                  AND p.last_model_config_id = m.id AND NOT is_returned
                  AND (p.round, p.pending_since) < (c.round, c.pending_since)
                LIMIT :max_ahead)
               UNION ALL
               (SELECT FROM chats p
                WHERE p.status = 'pending' AND NOT p.held
                  AND (p.recoveries > 0 OR p.next_attempt_at IS NOT NULL)
                  AND p.last_model_config_id = m.id
                  AND p.pending_since < CASE WHEN is_returned THEN c.pending_since
                                             ELSE clock_timestamp() END
                LIMIT :max_ahead)
           ) ahead
           WHERE c.status = 'pending' LIMIT :max_ahead
       ) ahead) AS chats_ahead,
       (SELECT jsonb_agg(to_jsonb(call) ORDER BY call.position) FROM (
            SELECT t.message_id, t.tool_call_id, t.tool_name, t.executor, t.policy, t.state,
                   t.tries, t.is_error, t.started_at, t.completed_at, t.position
            FROM chat_tool_calls t
            WHERE t.chat_id = c.id AND t.completed_at IS NULL
            ORDER BY t.position LIMIT :max_calls
       ) call) AS open_calls,
       (SELECT jsonb_object_agg(kind, n) FROM (
            SELECT question->>'kind' AS kind, count(*) AS n FROM chat_tool_calls
            WHERE chat_id = c.id AND completed_at IS NULL AND state = 'asked' GROUP BY 1
       ) asked WHERE c.status = 'requires_action') AS asked,
       (SELECT jsonb_agg(jsonb_build_object('chat_id', id, 'status', status, 'any', is_any)) FROM (
            SELECT each.id, a.status, NOT t.wait_for_all AS is_any
            FROM chat_tool_calls t CROSS JOIN LATERAL unnest(t.waits_for) AS each (id)
            LEFT JOIN chats a ON a.id = each.id AND a.root_chat_id = c.root_chat_id
            WHERE t.chat_id = c.id AND t.completed_at IS NULL AND t.state = 'parked'
            ORDER BY t.position LIMIT :max_calls
       ) awaited WHERE c.status = 'parked') AS awaited,
       capacity.alive, capacity.with_model, capacity.with_free_slots, capacity.free_slots,
       capacity.last_heartbeat_at
FROM chats c
CROSS JOIN LATERAL (SELECT c.recoveries > 0 OR c.next_attempt_at IS NOT NULL AS is_returned) line
LEFT JOIN workers w ON w.worker_id = c.worker_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE alive) AS alive,
           count(*) FILTER (WHERE alive AND has_model) AS with_model,
           count(*) FILTER (WHERE alive AND has_model AND free_slots > 0) AS with_free_slots,
           COALESCE(sum(free_slots) FILTER (WHERE alive AND has_model AND free_slots > 0),
                    0)::bigint AS free_slots,
           max(heartbeat_at) AS last_heartbeat_at
    FROM (
        SELECT heartbeat_at, c.last_model_config_id = ANY(models) AS has_model,
               heartbeat_at > clock_timestamp() - make_interval(secs => :lease_seconds) AS alive,
               CASE WHEN draining THEN 0
                    ELSE max_chats
                         - (SELECT count(*) FROM chats l WHERE l.worker_id = workers.worker_id)
               END AS free_slots
        FROM workers
    ) per_worker
) capacity
WHERE c.id = :chat_id AND c.owner_id = COALESCE(:owner_id, c.owner_id);

-- name: ping
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only;
