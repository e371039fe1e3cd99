-- Outputs of tools of which a message has the head and the tail. chat_close_calls stores them, and
-- the janitor deletes them (sweeps.sql).

-- name: read
-- Read bytes of an output of a chat, from `:offset` on. Of several calls with this id it is the
-- latest. No row: there is none, or it is kept no longer.
SELECT substring(body FROM :offset::integer + 1 FOR :length) AS data, length(body) AS kept_bytes,
       total_bytes
FROM chat_tool_outputs
WHERE chat_id = :chat_id AND tool_call_id = :tool_call_id
ORDER BY message_id DESC LIMIT 1;
