ALTER TABLE api_tokens DROP COLUMN name;
DROP INDEX chats_action_deadline;
DROP INDEX chats_of_parent;
CREATE INDEX chats_of_parent ON chats (parent_chat_id) WHERE parent_chat_id IS NOT NULL;
DROP INDEX chats_of_owner;
CREATE INDEX chats_of_owner ON chats (owner_id, updated_at DESC, id DESC);
DROP TABLE chat_tombstones;
DROP FUNCTION chat_owner_is_busy(text, integer);
DROP FUNCTION chat_in_flight_in_turn(text, integer);
DROP FUNCTION chat_in_flight_of(text, integer);
DROP INDEX chats_failed;
DROP INDEX chats_in_flight;
ALTER TABLE chat_queued_messages DROP COLUMN asked_in;
ALTER TABLE chats DROP COLUMN doing, DROP COLUMN asked_in, DROP COLUMN claimed_in;
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
