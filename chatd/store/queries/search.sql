-- The words of messages: their index, and the search in it.
--
-- Rows that belong to others are read one by one by their keys (OFFSET 0). The planner cannot know
-- how many messages a search finds, and might read a whole table instead.

-- name: index_chats
-- Index messages of the given chats that are not indexed yet, at most `:limit`, in the order of
-- chats and messages, so that statements of two processes do not wait for each other in a circle.
-- Return the chats that have more. Messages that the user does not see are passed by, and so are
-- chats that expire.
WITH chat AS MATERIALIZED (
    SELECT c.id, c.owner_id, COALESCE(p.message_id, 0) AS position,
           chat_message_id(c.version + 1, 0) - 1 AS last_message_id
    FROM chats c LEFT JOIN LATERAL (
        SELECT message_id FROM chat_search_positions WHERE chat_id = c.id OFFSET 0
    ) p ON true
    WHERE c.id = ANY(:chat_ids::uuid[]) AND c.expires_at IS NULL
), message AS MATERIALIZED (
    SELECT chat.id AS chat_id, chat.owner_id, m.id, chat_message_text(m.content) AS text
    FROM chat CROSS JOIN LATERAL (
        SELECT m.id, m.content FROM chat_messages m
        WHERE m.chat_id = chat.id AND m.id > chat.position AND m.id <= chat.last_message_id
          AND m.role IN ('user', 'assistant') AND m.visibility IN ('both', 'user')
          AND m.superseded_version IS NULL
        ORDER BY m.id LIMIT :limit
    ) m
    ORDER BY chat.id, m.id LIMIT :limit
), stopped AS MATERIALIZED (
    SELECT chat_id, id FROM message
    WHERE (SELECT count(*) FROM message) = :limit
    ORDER BY chat_id DESC, id DESC LIMIT 1
), inserted AS (
    INSERT INTO chat_message_words (chat_id, message_id, words)
    SELECT chat_id, id, array_to_tsvector(ARRAY[chat_owner_word(owner_id)])
                        || to_tsvector(:config::text::regconfig, text)
    FROM message WHERE text <> ''
    ON CONFLICT DO NOTHING
), moved AS (
    INSERT INTO chat_search_positions AS p (chat_id, message_id)
    SELECT chat.id, CASE WHEN chat.id = stopped.chat_id THEN stopped.id
                         ELSE chat.last_message_id END
    FROM chat LEFT JOIN stopped ON true
    WHERE stopped.chat_id IS NULL OR chat.id <= stopped.chat_id
    ORDER BY chat.id
    ON CONFLICT (chat_id) DO UPDATE SET message_id = GREATEST(p.message_id, EXCLUDED.message_id)
)
SELECT (SELECT count(*) FROM message) AS indexed,
       ARRAY(SELECT chat.id FROM chat, stopped WHERE chat.id >= stopped.chat_id) AS unfinished;

-- name: unindexed_chats
-- Read the chats in some pages that have messages which were not looked at.
SELECT c.id FROM chats c LEFT JOIN chat_search_positions p ON p.chat_id = c.id
WHERE c.ctid >= format('(%s,0)', :first_page::bigint)::tid
  AND c.ctid < format('(%s,0)', :end_page::bigint)::tid
  AND COALESCE(p.message_id, 0) < chat_message_id(c.version, 0) AND c.expires_at IS NULL;

-- name: check_config
-- Read whether there is a text search configuration of this name.
SELECT EXISTS (SELECT FROM pg_ts_config
               WHERE cfgname = :config AND pg_ts_config_is_visible(oid)) AS found;

-- name: search_messages
-- Read a page of an owner's chats in which a message matches `:words`, most recently updated first,
-- each with its newest such message. Of messages that were hidden since they were indexed, no chat
-- is shown, unless twenty newer ones of it were. Words that exclude only, and none at all, match
-- nothing.
WITH query AS MATERIALIZED (
    SELECT words, format('''%s''', chat_owner_word(:owner_id))::tsquery && words AS of_owner
    FROM websearch_to_tsquery(:config::text::regconfig, :words) AS words
    WHERE querytree(words) NOT IN ('', 'T')
), matching AS MATERIALIZED (
    SELECT w.chat_id, (array_agg(w.message_id ORDER BY w.message_id DESC))[1:20] AS message_ids
    FROM query CROSS JOIN chat_message_words w
    WHERE w.words @@ query.of_owner
    GROUP BY w.chat_id
), chat AS MATERIALIZED (
    SELECT c.id, c.updated_at, matching.message_ids
    FROM matching CROSS JOIN LATERAL (
        SELECT * FROM chats WHERE id = matching.chat_id OFFSET 0
    ) c
    WHERE owner_id = :owner_id
      AND (updated_at, id) < (COALESCE(:before_updated_at::timestamptz, 'infinity'),
                              COALESCE(:before_id::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
      AND (:archived::boolean IS NULL OR archived = :archived)
      AND (:statuses::text[] IS NULL OR status = ANY(:statuses))
      AND (NOT :only_roots::boolean OR parent_chat_id IS NULL)
      AND (:parent_chat_id::uuid IS NULL OR parent_chat_id = :parent_chat_id)
      AND labels @> ALL(:labels::jsonb[]) AND labels ?& :label_names::text[]
    ORDER BY updated_at DESC, id DESC
), page AS MATERIALIZED (
    SELECT chat.id, chat.updated_at, found.*
    FROM chat CROSS JOIN LATERAL (
        SELECT m.id AS message_id, m.role AS message_role, m.created_at AS message_created_at,
               m.content AS message_content
        FROM chat_messages m
        WHERE m.chat_id = chat.id AND m.id = ANY(chat.message_ids)
          AND m.superseded_version IS NULL AND m.visibility IN ('both', 'user')
        ORDER BY m.id DESC LIMIT 1
    ) found
    LIMIT :limit
)
SELECT chat_columns(c), message_id, message_role, message_created_at,
       ts_headline(:config::text::regconfig,
                   translate(left(chat_message_text(message_content), 20000),
                             chr(57344) || chr(57345), ''),
                   query.words,
                   format('StartSel=%s, StopSel=%s, MaxWords=30, MinWords=12, ShortWord=0',
                          chr(57344), chr(57345))) AS snippet
FROM query CROSS JOIN page CROSS JOIN LATERAL (
    SELECT * FROM chats WHERE id = page.id OFFSET 0
) c
ORDER BY page.updated_at DESC, page.id DESC;
