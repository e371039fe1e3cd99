-- Outputs of tools of which a message has the head and the tail, and results that a message has
-- whole although the model is not shown them any more. chat_close_calls stores outputs, and the
-- janitor deletes them (sweeps.sql).

-- name: read
-- Read bytes of an output of a chat, from `:offset` on: of the result in `:message_id`, or else of
-- the latest one with this id. One that was cut is read as it was before, as long as that is kept.
-- No row: there is none.
WITH result AS MATERIALIZED (
    SELECT m.id AS message_id, part ? 'output_bytes' AS is_cut,
           convert_to(COALESCE(part #>> '{result}', ''), 'UTF8') AS body
    FROM chat_messages m, jsonb_array_elements(m.content) AS part
    WHERE m.chat_id = :chat_id AND m.role = 'tool' AND m.superseded_version IS NULL
      AND (:message_id::bigint IS NULL OR m.id = :message_id)
      AND part->>'type' = 'tool-result' AND part->>'tool_call_id' = :tool_call_id
    ORDER BY m.id DESC LIMIT 1
), output AS (
    SELECT o.body, o.total_bytes FROM chat_tool_outputs o
    WHERE o.chat_id = :chat_id AND o.tool_call_id = :tool_call_id
      AND (:message_id::bigint IS NULL
           OR o.message_id < (SELECT message_id FROM result WHERE is_cut))
    ORDER BY o.message_id DESC LIMIT 1
)
SELECT substring(body FROM :offset::integer + 1 FOR :length::integer) AS data,
       length(body) AS kept_bytes, total_bytes
FROM (SELECT body, total_bytes FROM output
      UNION ALL
      SELECT body, length(body) FROM result WHERE NOT EXISTS (SELECT FROM output)) found;
