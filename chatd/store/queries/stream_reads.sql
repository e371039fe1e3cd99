-- What streams are made of: preview parts, the journal, and the snapshot that a stream starts with.

-- name: flush_parts
-- Store the parts that this process has streamed since the last run, of all chats at once. Parts
-- that were settled meanwhile, or belong to an earlier epoch, are left out; readers skip those
-- that get in. A flush whose response was lost is repeated with more parts, so batches may
-- overlap; readers merge them. `:batches` are objects of the inserted columns.
INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)
SELECT b.chat_id, b.epoch, b.first_part, b.last_part, b.parts
FROM jsonb_to_recordset(:batches)
    AS b (chat_id uuid, epoch bigint, first_part bigint, last_part bigint, parts jsonb)
JOIN chats c ON c.id = b.chat_id AND c.epoch = b.epoch AND c.settled_part < b.first_part
     AND c.worker_id IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: snapshot
-- Read a chat, the newest of what a person sees of it, and the parts of its running step, as of one
-- moment. The messages, the queue and the parts have at most `:max_bytes` each, but one of them at
-- least. Messages before `:since` are left out. Others with open tool calls are always there.
--
-- The first row has the chat, and each other row a message: as one value, a long history would be
-- copied several times.
WITH chat AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = COALESCE(:owner_id, owner_id)
), page AS MATERIALIZED (
    SELECT sized.id
    FROM chat CROSS JOIN LATERAL (
        SELECT id, sum(page_bytes) OVER (ORDER BY id DESC) AS total,
               row_number() OVER (ORDER BY id DESC) AS number
        FROM (SELECT id, page_bytes FROM chat_messages
              WHERE chat_id = chat.id AND id >= :since AND superseded_version IS NULL
                AND visibility IN ('both', 'user')
              ORDER BY id DESC LIMIT 1 + :max_bytes / 500) newest
    ) sized
    WHERE sized.total <= :max_bytes OR sized.number = 1
       OR sized.id >= (SELECT min(message_id) FROM chat_tool_calls
                       WHERE chat_id = chat.id AND completed_at IS NULL)
)
SELECT chat_columns(c), c.has_older, c.queue, c.batches, c.asked,
       m.id AS message_id, m.chat_id AS message_chat_id, m.version AS message_version,
       m.role AS message_role, m.content AS message_content,
       m.model_config_id AS message_model_config_id, m.finish_reason AS message_finish_reason,
       m.input_tokens AS message_input_tokens, m.output_tokens AS message_output_tokens,
       m.cache_read_tokens AS message_cache_read_tokens,
       m.cache_write_tokens AS message_cache_write_tokens,
       m.reasoning_tokens AS message_reasoning_tokens, m.created_at AS message_created_at,
       m.page_bytes AS message_page_bytes, m.compacted AS message_compacted
FROM (
    SELECT chat.*,
           EXISTS (SELECT FROM chat_messages m
                   WHERE m.chat_id = chat.id AND m.id < (SELECT min(id) FROM page)
                     AND m.superseded_version IS NULL
                     AND m.visibility IN ('both', 'user')) AS has_older,
           (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.position, q.id)
            FROM (SELECT queued.*, sum(page_bytes) OVER (ORDER BY position, id) AS total,
                         row_number() OVER (ORDER BY position, id) AS number
                  FROM chat_queued_messages queued WHERE queued.chat_id = chat.id) q
            WHERE q.total <= :max_bytes OR q.number = 1) AS queue,
           (SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part)
            FROM (SELECT parts.*, sum(page_bytes) OVER (ORDER BY last_part) AS total,
                         row_number() OVER (ORDER BY last_part) AS number
                  FROM chat_parts parts
                  WHERE parts.chat_id = chat.id AND parts.epoch = chat.epoch
                    AND parts.first_part > chat.settled_part AND chat.worker_id IS NOT NULL) p
            WHERE p.total <= :max_bytes OR p.number = 1) AS batches,
           (SELECT jsonb_object_agg(tool_call_id, jsonb_build_object(
                       'question', question, 'expires_at', expires_at))
            FROM chat_tool_calls
            WHERE chat_id = chat.id AND completed_at IS NULL AND state = 'asked') AS asked
    FROM chat
) c
FULL JOIN (
    SELECT m.*, m.role <> 'system' AND m.id <= compacted.until AS compacted
    FROM page JOIN chat_messages m ON m.chat_id = :chat_id AND m.id = page.id
    CROSS JOIN (
        SELECT COALESCE((SELECT covers_until FROM chat_summaries WHERE chat_id = :chat_id
                     ORDER BY covers_until DESC LIMIT 1), 0) AS until
    ) compacted
) m ON false
ORDER BY m.id NULLS FIRST;

-- name: updates_since
-- Read what is new in the given chats after the given cursors: journal entries with the messages
-- that they stored, at most `:limit` of one chat, then the parts of the running step. Chats with
-- nothing new are left out. Deleted chats are returned without a version. The entries of all chats
-- have at most `:max_bytes` together, but there is one at least. The parts of each chat are bounded
-- likewise. A chat whose entries end before its version is read again.
--
-- A stream that resumes gets a row of its chat in any case (`:unchanged_too`). If `:owner_id` is
-- not null, chats of other owners are returned like deleted ones, and nothing is read of them.
WITH updated AS MATERIALIZED (
    SELECT s.id, s.n, s.version AS after_version, c.version, c.epoch, c.settled_part,
           CASE WHEN c.worker_id IS NOT NULL
                THEN GREATEST(c.settled_part, CASE WHEN c.epoch = s.epoch THEN s.part ELSE 0 END)
           END AS after_part
    FROM unnest(:chat_ids::uuid[], :versions::bigint[], :epochs::bigint[], :parts::bigint[])
        WITH ORDINALITY AS s (id, version, epoch, part, n)
    LEFT JOIN chats c ON c.id = s.id AND c.owner_id = COALESCE(:owner_id, c.owner_id)
), sized AS (
    SELECT updated.n, e.version, sum(e.bytes) OVER (ORDER BY updated.n, e.version) AS total,
           row_number() OVER (ORDER BY updated.n, e.version) AS number
    FROM updated CROSS JOIN LATERAL (
        SELECT version, octet_length(data::text) + (
                   SELECT COALESCE(sum(m.page_bytes), 0)
                   FROM jsonb_array_elements_text(data->'messages') AS i (id)
                   JOIN chat_messages m ON m.chat_id = updated.id AND m.id = i.id::bigint
               ) AS bytes
        FROM chat_events
        WHERE chat_id = updated.id AND version > updated.after_version
        ORDER BY version LIMIT :limit
    ) e
    WHERE updated.version > updated.after_version
), journal AS (
    SELECT updated.n, jsonb_agg(to_jsonb(e) || jsonb_build_object('messages', (
               SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id)
               FROM jsonb_array_elements_text(e.data->'messages') AS i (id)
               JOIN chat_messages m ON m.chat_id = e.chat_id AND m.id = i.id::bigint
                    AND m.visibility IN ('both', 'user')
           )) ORDER BY e.version) AS entries
    FROM sized JOIN updated ON updated.n = sized.n
    JOIN chat_events e ON e.chat_id = updated.id AND e.version = sized.version
    WHERE sized.total <= :max_bytes OR sized.number = 1
    GROUP BY updated.n
)
SELECT updated.id, updated.version, updated.epoch, updated.settled_part, journal.entries,
       live.batches
FROM updated
LEFT JOIN journal ON journal.n = updated.n
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part) AS batches
    FROM (SELECT parts.*, sum(page_bytes) OVER (ORDER BY last_part) AS total,
                 row_number() OVER (ORDER BY last_part) AS number
          FROM chat_parts parts
          WHERE parts.chat_id = updated.id AND parts.epoch = updated.epoch
            AND parts.first_part > updated.settled_part
            AND parts.last_part > updated.after_part) p
    WHERE p.total <= :max_bytes OR p.number = 1
) live
WHERE updated.version IS NULL OR updated.version > updated.after_version
   OR live.batches IS NOT NULL OR :unchanged_too;
