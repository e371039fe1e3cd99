DROP INDEX chats_action_deadline;
DROP TABLE chat_tombstones;
DROP FUNCTION chat_owner_is_busy(text, integer);
DROP INDEX chats_in_flight;
ALTER TABLE chats DROP COLUMN doing;
DELETE FROM chat_tool_calls;
ALTER TABLE chat_tool_calls
    DROP COLUMN position,
    DROP CONSTRAINT chat_tool_calls_pkey,
    ADD PRIMARY KEY (chat_id, tool_call_id);
DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys
    DROP COLUMN chat_id,
    ADD COLUMN status_code integer NOT NULL,
    ALTER COLUMN answer SET NOT NULL;
