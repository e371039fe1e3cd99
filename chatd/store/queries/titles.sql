-- Titles that models write.

-- name: set_title
-- Give a chat the title that a model wrote, unless a caller or a model has given one since. The
-- tokens are added to the chat's. No row: it has a title, or was deleted. The transition changes
-- nothing that a turn reads: it may come at any moment of one, and is not fenced.
WITH updated AS (
    UPDATE chats SET
        version = version + 1,
        updated_at = clock_timestamp(),
        title = :title,
        title_by = 'model',
        input_tokens = input_tokens + :input_tokens,
        output_tokens = output_tokens + :output_tokens,
        cache_read_tokens = cache_read_tokens + :cache_read_tokens,
        cache_write_tokens = cache_write_tokens + :cache_write_tokens,
        reasoning_tokens = reasoning_tokens + :reasoning_tokens
    WHERE id = :chat_id AND title_by = 'words'
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
    SELECT id, version, 'set_title', status, epoch, chat_description(title, labels, archived)
    FROM updated
    RETURNING created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages
FROM updated, journal_entry;
