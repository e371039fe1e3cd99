-- Lists of an owner's chats: pages, and what was touched since.
--
-- A page is found by walking `chats_of_owner` (or `chats_of_parent`) from the row that the page before
-- ended with, so no page costs more for being further down. Filters stand in CASE: the planner takes
-- half of the rows to pass one, and walks in order. Left to guess from the filter itself it may think
-- that few pass, fetch the whole list and sort it, for every page.

-- name: page
-- By what the index holds: the page is found in it alone, and only its rows are fetched.
-- $1 owner, $2 and $3 the last row before, or null, $4 most, $5 archived or null, $6 statuses or null,
-- $7 roots only
SELECT c.* FROM (
    SELECT id, updated_at FROM chats
    WHERE owner_id = $1
      AND (updated_at, id) < (COALESCE($2::timestamptz, 'infinity'),
                              COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
      AND CASE WHEN $5::boolean IS NULL THEN true ELSE archived = $5 END
      AND CASE WHEN $6::text[] IS NULL THEN true ELSE status = ANY($6) END
      AND CASE WHEN $7::boolean THEN parent_chat_id IS NULL ELSE true END
    ORDER BY updated_at DESC, id DESC
    LIMIT $4
) page JOIN chats c ON c.id = page.id
ORDER BY page.updated_at DESC, page.id DESC;

-- name: page_matching
-- By labels and words of the title too, which no index holds: every row that is passed by is read.
-- $1 to $7 as above, $8 labels, each an object of one, $9 names of labels, $10 words, or null
SELECT * FROM chats
WHERE owner_id = $1
  AND (updated_at, id) < (COALESCE($2::timestamptz, 'infinity'),
                          COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND CASE WHEN $5::boolean IS NULL THEN true ELSE archived = $5 END
  AND CASE WHEN $6::text[] IS NULL THEN true ELSE status = ANY($6) END
  AND CASE WHEN $7::boolean THEN parent_chat_id IS NULL ELSE true END
  AND CASE WHEN labels @> ALL($8::jsonb[]) THEN labels ?& $9::text[] ELSE false END
  AND CASE WHEN $10::text IS NULL THEN true ELSE strpos(lower(title), lower($10)) > 0 END
ORDER BY updated_at DESC, id DESC
LIMIT $4;

-- name: page_of_children
-- The chats that one chat has started, by anything.
-- $1 to $6 and $8 to $10 as above, $7 the parent
SELECT * FROM chats
WHERE parent_chat_id = $7
  AND (updated_at, id) < (COALESCE($2::timestamptz, 'infinity'),
                          COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND CASE WHEN owner_id = $1 THEN true ELSE false END
  AND CASE WHEN $5::boolean IS NULL THEN true ELSE archived = $5 END
  AND CASE WHEN $6::text[] IS NULL THEN true ELSE status = ANY($6) END
  AND CASE WHEN labels @> ALL($8::jsonb[]) THEN labels ?& $9::text[] ELSE false END
  AND CASE WHEN $10::text IS NULL THEN true ELSE strpos(lower(title), lower($10)) > 0 END
ORDER BY updated_at DESC, id DESC
LIMIT $4;

-- name: touched
-- What was touched or deleted in watched lists, longest ago first, at most so many of one owner; always
-- a row for each owner, with the moment of this read. What is known in that version is left out.
-- $1 owners, $2 since when, $3 known versions by chat (of a deleted one: the largest), $4 most of one owner
SELECT watched.owner_id AS watched, now() AS read_at, news.at, news.gone, c.*
FROM unnest($1::text[], $2::timestamptz[]) AS watched (owner_id, since)
LEFT JOIN LATERAL (
    (SELECT updated_at AS at, id, NULL::uuid AS gone FROM chats
     WHERE owner_id = watched.owner_id AND updated_at > watched.since
       AND version > COALESCE(($3::jsonb->>id::text)::bigint, 0)
     ORDER BY updated_at, id LIMIT $4)
    UNION ALL
    (SELECT deleted_at, NULL, chat_id FROM chat_tombstones
     WHERE owner_id = watched.owner_id AND deleted_at > watched.since
       AND ($3->>chat_id::text)::bigint IS DISTINCT FROM 9223372036854775807
     ORDER BY deleted_at, chat_id LIMIT $4)
    ORDER BY at LIMIT $4
) news ON true
LEFT JOIN chats c ON c.id = news.id;

-- name: forget_tombstones
-- Deletions past their retention: a list that was left longer ago is read anew.
-- $1 days, $2 most rows
DELETE FROM chat_tombstones WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM chat_tombstones
    WHERE deleted_at < clock_timestamp() - make_interval(secs => $1 * 86400)
    LIMIT $2 FOR UPDATE SKIP LOCKED
))
RETURNING 1;
