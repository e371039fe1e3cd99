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
-- Read a chat, everything that a person sees of it, and the parts of its running step, as of one
-- moment.
SELECT chat_columns(c),
       (SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id) FROM chat_messages m
        WHERE m.chat_id = c.id AND m.superseded_version IS NULL
          AND m.visibility IN ('both', 'user')) AS messages,
       (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.position, q.id) FROM chat_queued_messages q
        WHERE q.chat_id = c.id) AS queue,
       (SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part)
        FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first_part > c.settled_part
          AND c.worker_id IS NOT NULL) AS batches
FROM chats c
WHERE c.id = :chat_id AND c.owner_id = COALESCE(:owner_id, c.owner_id);

-- name: resumable_range
-- Read which cursors the journal of a chat can resume.
SELECT c.version, c.epoch, c.settled_part,
       (SELECT min(version) FROM chat_events WHERE chat_id = c.id) AS oldest
FROM chats c
WHERE c.id = :chat_id AND c.owner_id = COALESCE(:owner_id, c.owner_id);

-- name: updates_since
-- Read what is new in the given chats after the given cursors: journal entries with the messages
-- that they stored, at most `:limit` of one chat, then the parts of the running step. Chats with
-- nothing new are left out. Deleted chats are returned without a version.
SELECT s.id, c.version, c.epoch, c.settled_part,
       (SELECT jsonb_agg(to_jsonb(e) || jsonb_build_object('messages', (
                   SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id)
                   FROM jsonb_array_elements_text(e.data->'messages') AS i (id)
                   JOIN chat_messages m ON m.chat_id = e.chat_id AND m.id = i.id::bigint
                        AND m.visibility IN ('both', 'user')
               )) ORDER BY e.version)
        FROM (SELECT * FROM chat_events WHERE chat_id = s.id AND version > s.version
              ORDER BY version LIMIT :limit) e) AS entries,
       (SELECT jsonb_agg(jsonb_build_array(p.first_part, p.parts) ORDER BY p.last_part)
        FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first_part > c.settled_part
          AND c.worker_id IS NOT NULL
          AND p.last_part > CASE WHEN c.epoch = s.epoch THEN s.part ELSE 0 END) AS batches
FROM unnest(:chat_ids::uuid[], :versions::bigint[], :epochs::bigint[], :parts::bigint[])
    AS s (id, version, epoch, part)
LEFT JOIN chats c ON c.id = s.id
WHERE c.id IS NULL
   OR c.version > s.version
   OR EXISTS (SELECT FROM chat_parts p WHERE p.chat_id = c.id AND p.epoch = c.epoch
              AND c.worker_id IS NOT NULL
              AND p.last_part > GREATEST(c.settled_part,
                                         CASE WHEN c.epoch = s.epoch THEN s.part ELSE 0 END));
