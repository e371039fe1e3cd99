-- Files of a chat. Transitions store them; see `:file_ids` in chats.sql.

-- name: file
-- Read what is known of a file. A chat that has no such file is a row of nulls.
SELECT f.media_type, f.name, f.size
FROM chats c LEFT JOIN chat_files f ON f.chat_id = c.id AND f.id = :file_id
WHERE c.id = :chat_id AND c.owner_id = COALESCE(:owner_id, c.owner_id);

-- name: references
-- Read what is known of several files. A chat that has none of them is one row of nulls.
SELECT f.id, f.media_type, f.name, f.size
FROM chats c LEFT JOIN chat_files f ON f.chat_id = c.id AND f.id = ANY(:file_ids::uuid[])
WHERE c.id = :chat_id AND c.owner_id = COALESCE(:owner_id, c.owner_id);

-- name: read
-- Read spans of bytes of files of one chat, in the order of the parameters. Files are stored
-- uncompressed, so only the pages of a span are read.
SELECT substring(f.data FROM span.first FOR span.length) AS data
FROM unnest(:file_ids::uuid[], :firsts::integer[], :lengths::integer[]) WITH ORDINALITY
    AS span (file_id, first, length, n)
JOIN chat_files f ON f.chat_id = :chat_id AND f.id = span.file_id
ORDER BY span.n;
