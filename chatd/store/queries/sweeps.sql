-- Sweeps: deleting what is past its retention. A sweep walks a table by its pages, a few at a time,
-- and goes on where the last one ended. So each statement reads a bounded part of the table,
-- however large it is, and no index on a time has to be kept for it.

-- name: take
-- Take the turn to sweep a table, unless a process has had one within `:interval_seconds`. The
-- turn is a row, so that this holds behind a transaction pooler, and for a process that died.
INSERT INTO chat_sweeps AS s (table_name) VALUES (:table_name)
ON CONFLICT (table_name) DO UPDATE SET taken_at = clock_timestamp()
WHERE s.taken_at < clock_timestamp() - make_interval(secs => :interval_seconds)
RETURNING next_page, pg_relation_size(:table_name::text::regclass)
                     / current_setting('block_size')::bigint AS pages;

-- name: advance
-- Record where the next sweep of a table begins.
UPDATE chat_sweeps SET next_page = :next_page WHERE table_name = :table_name;

-- name: chat_events
-- Delete expired journal entries. Of a chat that has one in these pages, the entries before it go
-- too, the oldest first, so that the rest of a chat's journal has no gap. The end of the range of
-- cursors that can be resumed is the version of the chat itself, so no entry has to stay.
WITH expired AS MATERIALIZED (
    SELECT chat_id, max(version) AS version FROM chat_events
    WHERE ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND ctid < format('(%s,0)', :end_page::bigint)::tid
      AND created_at < clock_timestamp() - make_interval(secs => :retention_seconds)
    GROUP BY chat_id
), prefix AS MATERIALIZED (
    SELECT e.chat_id, e.version
    FROM expired CROSS JOIN LATERAL (
        SELECT e.chat_id, e.version FROM chat_events e
        WHERE e.chat_id = expired.chat_id AND e.version <= expired.version
        ORDER BY e.version LIMIT :limit
    ) e
    ORDER BY e.chat_id, e.version LIMIT :limit
)
DELETE FROM chat_events e USING prefix
WHERE e.chat_id = prefix.chat_id AND e.version = prefix.version
RETURNING 1;

-- name: chat_parts
-- Delete parts that no step will settle: those of an earlier epoch, and those that were flushed
-- after their step ended. Rows that a transition is deleting at the same moment are skipped, so
-- that no transition waits for this statement.
WITH obsolete AS MATERIALIZED (
    SELECT p.chat_id, p.epoch, p.last_part FROM chat_parts p LEFT JOIN chats c ON c.id = p.chat_id
    WHERE p.ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND p.ctid < format('(%s,0)', :end_page::bigint)::tid
      AND (c.id IS NULL OR p.epoch < c.epoch OR c.worker_id IS NULL
           OR p.last_part <= c.settled_part)
    FOR UPDATE OF p SKIP LOCKED
)
DELETE FROM chat_parts p USING obsolete
WHERE p.chat_id = obsolete.chat_id AND p.epoch = obsolete.epoch AND p.last_part = obsolete.last_part
RETURNING 1;

-- name: chat_tool_outputs
-- Delete outputs of tools past their retention. They count no longer as stored of their chats,
-- which are locked before, as transitions do. Chats that are locked are left to the next sweep.
WITH expired AS MATERIALIZED (
    SELECT o.chat_id, o.message_id, o.tool_call_id, octet_length(o.body) AS bytes
    FROM chat_tool_outputs o JOIN chats c ON c.id = o.chat_id
    WHERE o.ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND o.ctid < format('(%s,0)', :end_page::bigint)::tid
      AND o.created_at < clock_timestamp() - make_interval(secs => :retention_seconds)
    FOR NO KEY UPDATE OF c SKIP LOCKED
), updated AS (
    UPDATE chats c SET stored_bytes = GREATEST(c.stored_bytes - freed.bytes, 0)
    FROM (SELECT chat_id, sum(bytes) AS bytes FROM expired GROUP BY chat_id) freed
    WHERE c.id = freed.chat_id
)
DELETE FROM chat_tool_outputs o USING expired
WHERE o.chat_id = expired.chat_id AND o.message_id = expired.message_id
  AND o.tool_call_id = expired.tool_call_id
RETURNING 1;

-- name: chat_tombstones
-- Delete tombstones past their retention. A subscriber that was disconnected for longer reads its
-- list anew. Those of chats that were in no list stay for a day, in which requests are repeated:
-- such chats may be many.
DELETE FROM chat_tombstones WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM chat_tombstones
    WHERE ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND ctid < format('(%s,0)', :end_page::bigint)::tid
      AND deleted_at < clock_timestamp() - make_interval(
              secs => CASE WHEN listed THEN :retention_seconds::double precision
                           ELSE LEAST(:retention_seconds, 86400) END)
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;

-- name: idempotency_keys
-- Delete keys past their retention.
DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM idempotency_keys
    WHERE ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND ctid < format('(%s,0)', :end_page::bigint)::tid
      AND created_at < clock_timestamp() - make_interval(secs => :retention_seconds)
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;

-- name: chat_message_words
-- Delete the words of messages that were hidden or deleted.
DELETE FROM chat_message_words WHERE ctid = ANY(ARRAY(
    SELECT w.ctid FROM chat_message_words w
    LEFT JOIN chat_messages m ON m.chat_id = w.chat_id AND m.id = w.message_id
    WHERE w.ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND w.ctid < format('(%s,0)', :end_page::bigint)::tid
      AND (m.id IS NULL OR m.superseded_version IS NOT NULL)
    FOR UPDATE OF w SKIP LOCKED
))
RETURNING 1;

-- name: chat_search_positions
-- Delete the positions of deleted chats.
DELETE FROM chat_search_positions WHERE ctid = ANY(ARRAY(
    SELECT p.ctid FROM chat_search_positions p LEFT JOIN chats c ON c.id = p.chat_id
    WHERE p.ctid >= format('(%s,0)', :first_page::bigint)::tid
      AND p.ctid < format('(%s,0)', :end_page::bigint)::tid
      AND c.id IS NULL
    FOR UPDATE OF p SKIP LOCKED
))
RETURNING 1;
