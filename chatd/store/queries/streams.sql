-- What streams are made of: live parts, the journal, and the snapshot that they start from.

-- name: flush_parts
-- The parts that this process streamed since the last tick, all chats at once. What was settled
-- meanwhile, or belongs to an epoch that is over, is left out; readers pass by what slips in.
-- A flush whose answer was cut off is said again, longer: batches may overlap, and readers join them.
-- $1 batches: objects of chat_id, epoch, first, last, parts
INSERT INTO chat_parts (chat_id, epoch, first, last, parts)
SELECT f.chat_id, f.epoch, f.first, f.last, f.parts
FROM jsonb_to_recordset($1) AS f (chat_id uuid, epoch bigint, first bigint, last bigint, parts jsonb)
JOIN chats c ON c.id = f.chat_id AND c.epoch = f.epoch AND c.parts_done < f.first
     AND c.worker_id IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: snapshot
-- A chat, all that a person sees of it, and the parts of its running step, as of one moment.
-- $1 chat, $2 owner (null: anybody)
SELECT c.*,
       (SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id) FROM chat_messages m
        WHERE m.chat_id = c.id AND m.superseded_version IS NULL AND m.visibility <> 'model') AS messages,
       (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.position, q.id) FROM chat_queued_messages q
        WHERE q.chat_id = c.id) AS queue,
       (SELECT jsonb_agg(jsonb_build_array(p.first, p.parts) ORDER BY p.last) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first > c.parts_done
          AND c.worker_id IS NOT NULL) AS batches
FROM chats c
WHERE c.id = $1 AND c.owner_id = COALESCE($2, c.owner_id);

-- name: span
-- Which cursors a chat's journal can resume.
-- $1 chat, $2 owner (null: anybody)
SELECT c.version, c.epoch, c.parts_done, (SELECT min(version) FROM chat_events WHERE chat_id = c.id) AS oldest
FROM chats c
WHERE c.id = $1 AND c.owner_id = COALESCE($2, c.owner_id);

-- name: since
-- What is new in watched chats: journal rows with the messages they stored, then the parts of the
-- running step. Chats with nothing new are left out; deleted ones come back without a version.
-- $1 chats, $2 versions, $3 epochs, $4 parts, $5 most journal rows of one chat
SELECT w.id, c.version, c.epoch, c.parts_done,
       (SELECT jsonb_agg(to_jsonb(e) || jsonb_build_object('stored', (
                   SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id)
                   FROM jsonb_array_elements_text(e.data->'messages') AS i (id)
                   JOIN chat_messages m ON m.chat_id = e.chat_id AND m.id = i.id::bigint
                        AND m.visibility <> 'model'
               )) ORDER BY e.version)
        FROM (SELECT * FROM chat_events WHERE chat_id = w.id AND version > w.version
              ORDER BY version LIMIT $5) e) AS entries,
       (SELECT jsonb_agg(jsonb_build_array(p.first, p.parts) ORDER BY p.last) FROM chat_parts p
        WHERE p.chat_id = c.id AND p.epoch = c.epoch AND p.first > c.parts_done
          AND c.worker_id IS NOT NULL
          AND p.last > CASE WHEN c.epoch = w.epoch THEN w.part ELSE 0 END) AS batches
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS w (id, version, epoch, part)
LEFT JOIN chats c ON c.id = w.id
WHERE c.id IS NULL
   OR c.version > w.version
   OR EXISTS (SELECT FROM chat_parts p WHERE p.chat_id = c.id AND p.epoch = c.epoch
              AND c.worker_id IS NOT NULL
              AND p.last > GREATEST(c.parts_done, CASE WHEN c.epoch = w.epoch THEN w.part ELSE 0 END));

-- name: notify
-- Tell the other processes, in a transaction of its own: a hint, after the fact.
-- $1 payloads
SELECT pg_notify('chatd', payload) FROM unnest($1::text[]) AS hint (payload);

-- name: forget_events
-- Journal rows past their retention, oldest first, so that what is left of a chat has no gap. The
-- newest row of a chat is kept, as the edge of its span. Others who sweep lock in the same order.
-- $1 days, $2 most rows
WITH old AS MATERIALIZED (
    SELECT e.chat_id, e.version FROM chat_events e JOIN chats c ON c.id = e.chat_id
    WHERE e.at < clock_timestamp() - make_interval(secs => $1 * 86400)
      AND e.version < c.version
    ORDER BY e.at, e.chat_id, e.version LIMIT $2 FOR UPDATE OF e
)
DELETE FROM chat_events e USING old WHERE e.chat_id = old.chat_id AND e.version = old.version
RETURNING 1;

-- name: forget_parts
-- Parts that no step will ever settle: of an epoch that is over, or flushed after their step ended.
-- What a move is deleting at this moment is passed by: a move never waits for the sweeper's next row.
-- $1 most rows
WITH old AS MATERIALIZED (
    SELECT p.chat_id, p.epoch, p.last FROM chat_parts p LEFT JOIN chats c ON c.id = p.chat_id
    WHERE c.id IS NULL OR p.epoch < c.epoch OR c.worker_id IS NULL OR p.last <= c.parts_done
    LIMIT $1 FOR UPDATE OF p SKIP LOCKED
)
DELETE FROM chat_parts p USING old
WHERE p.chat_id = old.chat_id AND p.epoch = old.epoch AND p.last = old.last
RETURNING 1;
