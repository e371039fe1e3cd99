-- What the whole HTTP surface needs: repeatable requests, limits of an owner, what a chat's owner is
-- doing, and chats that are gone.

-- An answer is kept as the row that the move answered with; the API dresses both the first answer and
-- each repeat from it. A deleted chat's answers go; their keys stay, so that nothing is done twice.
ALTER TABLE idempotency_keys
    DROP COLUMN status_code,
    ADD COLUMN chat_id uuid NOT NULL,
    ALTER COLUMN answer DROP NOT NULL;
CREATE INDEX idempotency_keys_of_chat ON idempotency_keys (chat_id);

-- A model may use an id again in a later answer; within one answer it names one call.
ALTER TABLE chat_tool_calls
    DROP CONSTRAINT chat_tool_calls_pkey,
    ADD PRIMARY KEY (chat_id, message_id, tool_call_id);

-- What its owner said at its last beat: {"epoch", "zone", "since", "until"}. A beat writes it, and no
-- move clears it: it counts while `epoch` is the chat's. In no index: beats stay HOT.
ALTER TABLE chats ADD COLUMN doing jsonb;

-- Traces, in the words of W3C (traceparent), when somebody traces: the request that asked for the answer
-- that is due, and the claim of who owned it first. A queued message brings its own with it.
ALTER TABLE chats ADD COLUMN asked_in text, ADD COLUMN claimed_in text;
ALTER TABLE chat_queued_messages ADD COLUMN asked_in text;

-- Whether an owner has as many chats in flight as it may have.
CREATE INDEX chats_in_flight ON chats (owner_id)
    WHERE status IN ('pending', 'running', 'interrupting', 'requires_action');
CREATE FUNCTION chat_in_flight_of(owner text, most integer) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM (
        SELECT FROM chats
        WHERE owner_id = owner AND status IN ('pending', 'running', 'interrupting', 'requires_action')
        LIMIT most
    ) busy
$$;
-- Near the limit an owner's statements take turns, and each counts anew, with a snapshot of its own.
CREATE FUNCTION chat_in_flight_in_turn(owner text, most integer) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('in flight: ' || owner, 1));
    SELECT chat_in_flight_of(owner, most)
$$;
-- Exact, as long as no more than 64 statements of one owner are at work at the same moment: further
-- away from the limit than that, nobody waits for anybody. A limit that is null is none.
CREATE FUNCTION chat_owner_is_busy(owner text, most integer) RETURNS boolean LANGUAGE sql VOLATILE STRICT AS $$
    SELECT CASE WHEN seen < most - 64 THEN false
                WHEN seen >= most THEN true
                ELSE chat_in_flight_in_turn(owner, most) >= most END
    FROM chat_in_flight_of(owner, most) AS seen
$$;

-- Chats that were deleted, for those who follow an owner's list and were not there.
CREATE TABLE chat_tombstones (
    owner_id    text NOT NULL,
    chat_id     uuid NOT NULL,
    deleted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner_id, deleted_at, chat_id)
);
CREATE INDEX chat_tombstones_by_age ON chat_tombstones USING brin (deleted_at);

-- A caller's list, most recently touched first. What it is filtered by goes along (INCLUDE), so that a
-- page is found without looking at the rows that it passes by; no index more, so nothing more to write.
DROP INDEX chats_of_owner;
CREATE INDEX chats_of_owner ON chats (owner_id, updated_at DESC, id DESC)
    INCLUDE (status, archived, parent_chat_id);
DROP INDEX chats_of_parent;
CREATE INDEX chats_of_parent ON chats (parent_chat_id, updated_at DESC, id DESC)
    WHERE parent_chat_id IS NOT NULL;

-- Results are stored in the order of the calls: its place among the calls of its message.
ALTER TABLE chat_tool_calls ADD COLUMN position integer NOT NULL DEFAULT 0;

-- Chats that wait for their client, by when they have waited long enough: the reaper looks each second.
CREATE INDEX chats_action_deadline ON chats (action_deadline) WHERE status = 'requires_action';

-- What a token is for, in its maker's words.
ALTER TABLE api_tokens ADD COLUMN name text NOT NULL DEFAULT '';

-- Failed chats are counted every few seconds.
CREATE INDEX chats_failed ON chats (id) WHERE status = 'error';
