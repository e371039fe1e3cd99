-- Lists of an owner's chats: pages, and what has changed since.
--
-- A page is found by walking chats_owner_updated_idx (or chats_parent_updated_idx) from the last
-- row of the page before, so a page costs the same however far down it is. `:before_updated_at`
-- and `:before_id` are that row, or null. Filters that are null do not apply. They stand in
-- CASE, because the planner then expects half of the rows to pass each and walks the index in
-- order. If it estimated the filters themselves, it might expect few rows to pass, and fetch and
-- sort the whole list. Chats that expire are in no list but that of the chats which one of them has
-- started.

-- name: page
-- Read a page, filtered by columns of the index: only the rows of the page are fetched.
SELECT chat_columns(c) FROM (
    SELECT id, updated_at FROM chats
    WHERE owner_id = :owner_id AND expires_at IS NULL
      AND (updated_at, id) < (COALESCE(:before_updated_at::timestamptz, 'infinity'),
                              COALESCE(:before_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
      AND CASE WHEN :archived::boolean IS NULL THEN true ELSE archived = :archived END
      AND CASE WHEN :statuses::text[] IS NULL THEN true ELSE status = ANY(:statuses) END
      AND CASE WHEN :only_roots::boolean THEN parent_chat_id IS NULL ELSE true END
    ORDER BY updated_at DESC, id DESC
    LIMIT :limit
) page JOIN chats c ON c.id = page.id
ORDER BY page.updated_at DESC, page.id DESC;

-- name: page_matching
-- Read a page, filtered also by labels and words of the title, which no index has: every row
-- that is skipped is read. `:labels` are objects of one label each. Titles are compared in upper
-- case, because the lower case of a Greek letter depends on its place in the word.
SELECT chat_columns(chats) FROM chats
WHERE owner_id = :owner_id AND expires_at IS NULL
  AND (updated_at, id) < (COALESCE(:before_updated_at::timestamptz, 'infinity'),
                          COALESCE(:before_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND CASE WHEN :archived::boolean IS NULL THEN true ELSE archived = :archived END
  AND CASE WHEN :statuses::text[] IS NULL THEN true ELSE status = ANY(:statuses) END
  AND CASE WHEN :only_roots::boolean THEN parent_chat_id IS NULL ELSE true END
  AND CASE WHEN labels @> ALL(:labels::jsonb[]) THEN labels ?& :label_names::text[] ELSE false END
  AND CASE WHEN :title_contains::text IS NULL THEN true
           ELSE strpos(upper(title COLLATE chat_case),
                       upper(:title_contains COLLATE chat_case)) > 0 END
ORDER BY updated_at DESC, id DESC
LIMIT :limit;

-- name: page_of_children
-- Read a page of the chats that one chat has started, with any filters.
SELECT chat_columns(chats) FROM chats
WHERE parent_chat_id = :parent_chat_id
  AND (updated_at, id) < (COALESCE(:before_updated_at::timestamptz, 'infinity'),
                          COALESCE(:before_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  AND CASE WHEN owner_id = :owner_id THEN true ELSE false END
  AND CASE WHEN :archived::boolean IS NULL THEN true ELSE archived = :archived END
  AND CASE WHEN :statuses::text[] IS NULL THEN true ELSE status = ANY(:statuses) END
  AND CASE WHEN labels @> ALL(:labels::jsonb[]) THEN labels ?& :label_names::text[] ELSE false END
  AND CASE WHEN :title_contains::text IS NULL THEN true
           ELSE strpos(upper(title COLLATE chat_case),
                       upper(:title_contains COLLATE chat_case)) > 0 END
ORDER BY updated_at DESC, id DESC
LIMIT :limit;

-- name: changed_since
-- Read what was updated or deleted in the given lists, oldest change first, at most `:limit`
-- chats for each owner. There is at least one row for each owner, with the time of this read.
-- Chats that the caller has in `:known_versions` (by chat id; of a deleted chat the largest
-- bigint) are left out.
SELECT list.owner_id AS list_owner_id, now() AS read_at, change.changed_at, change.deleted_id,
       chat_columns(c)
FROM unnest(:owner_ids::text[], :since::timestamptz[]) AS list (owner_id, since)
LEFT JOIN LATERAL (
    (SELECT updated_at AS changed_at, id, NULL::uuid AS deleted_id FROM chats
     WHERE owner_id = list.owner_id AND updated_at > list.since AND expires_at IS NULL
       AND version > COALESCE((:known_versions::jsonb->>id::text)::bigint, 0)
     ORDER BY updated_at, id LIMIT :limit)
    UNION ALL
    (SELECT deleted_at, NULL, chat_id FROM chat_tombstones
     WHERE owner_id = list.owner_id AND deleted_at > list.since AND listed
       AND (:known_versions->>chat_id::text)::bigint IS DISTINCT FROM 9223372036854775807
     ORDER BY deleted_at, chat_id LIMIT :limit)
    ORDER BY changed_at LIMIT :limit
) change ON true
LEFT JOIN chats c ON c.id = change.id;
