-- Transitions that callers make on a chat as a whole.
--
-- Every transition locks the chat's row and does its work in the same statement. A statement
-- that had to wait for the lock sees that row as it is now, but every other table as it was
-- before the wait. A transition that reads other tables therefore compares the version of its
-- snapshot with the version that it locked, and returns 'stale' when they differ. So does one
-- that decides by the locked row, because an UPDATE checks constraints on the row of its
-- snapshot before it turns to the newer one.
--
-- Another owner's chat is not found. The journal entry names the actor, whose credential the
-- request came with: its owner unless that is the chat's own, and its token. With an idempotency
-- key (not null) the statement also stores under it which rows its response was made of; a
-- concurrent duplicate fails on the primary key and changes nothing. `:limits` is the argument of
-- chat_owner_refusal and of chat_bytes_refusal.
--
-- A transition that stores messages also stores their files, given as `:file_ids` and three more
-- arrays, and adds what it stores to `chats.stored_bytes`. A file that the chat has already is left
-- out of both. Only callers are refused for want of space: a worker's answer is always stored.
--
-- `create`, `retry`, `edit` and `submit_tool_results` may also claim the chat that they make
-- pending, for `:worker_id`: if its model is one of `:models` and it is not held. They then leave
-- every table as the transition and `claim` would: two versions, two journal entries (the response
-- has that of the transition first), and a row that is updated once.
--
-- A transition that ends a message early closes its open tool calls (chat_close_calls). `:words`
-- are the errors that those get which have no result.

-- name: create
-- Create a chat: pending when its messages start a turn, else waiting. A pending chat of one of
-- `:models` is claimed in the same statement, unless it is held (see above).
--
-- Of two statements with the same `:new_chat_id` at the same moment, the later one fails on the
-- primary key. An id is given once: not even its owner can create a chat again that was deleted, as
-- long as there is a tombstone. To everybody else, there is no such chat.
WITH added AS MATERIALIZED (
    SELECT pg_column_size(:messages::jsonb) + pg_column_size(:tools::jsonb)
           + chat_new_file_bytes(NULL, :file_ids, :file_data) AS bytes
), known AS MATERIALIZED (
    SELECT owner_id, 'chat_exists' AS refusal FROM chats WHERE id = :new_chat_id::uuid
    UNION ALL
    SELECT owner_id, 'chat_gone' FROM chat_tombstones WHERE chat_id = :new_chat_id
    LIMIT 1
), decision AS MATERIALIZED (
    SELECT COALESCE((SELECT CASE WHEN owner_id = :owner_id THEN refusal ELSE 'chat_not_found' END
                     FROM known),
                    chat_bytes_refusal(:owner_id, :limits, 0, added.bytes),
                    CASE WHEN :starts_turn THEN chat_owner_refusal(:owner_id, :limits) END,
                    'done') AS outcome,
           COALESCE(:new_chat_id, gen_random_uuid()) AS id, added.bytes AS added_bytes
    FROM added
), new_status AS MATERIALIZED (
    SELECT CASE WHEN NOT :starts_turn THEN 'waiting'
                WHEN held OR :model_config_id <> ALL(:models::uuid[]) THEN 'pending'
                ELSE 'running' END AS status, held
    FROM (SELECT :starts_turn AND chat_must_hold(:owner_id, :limits) AS held
          FROM decision WHERE decision.outcome = 'done') owner
), created AS (
    INSERT INTO chats (id, root_chat_id, owner_id, title, title_by, labels, server_tools,
                       last_model_config_id, status, pending_since, round, held,
                       request_traceparent, stored_bytes,
                       version, epoch, worker_id, started_at, heartbeat_at, claim_traceparent,
                       permissions, expires_at)
    SELECT decision.id, decision.id, :owner_id, :title, :title_by, :labels, :server_tools,
           :model_config_id, status, CASE WHEN status = 'pending' THEN clock_timestamp() END,
           CASE WHEN :starts_turn THEN chat_next_round(:owner_id) ELSE 0 END, held,
           :request_traceparent, decision.added_bytes,
           CASE WHEN claimed THEN 2 ELSE 1 END, claimed::integer,
           CASE WHEN claimed THEN :worker_id::uuid END,
           CASE WHEN claimed THEN clock_timestamp() END,
           CASE WHEN claimed THEN clock_timestamp() END,
           CASE WHEN claimed THEN :claim_traceparent END, :permissions,
           clock_timestamp() + make_interval(secs => :expires_in_seconds)
    FROM decision, (SELECT *, status = 'running' AS claimed FROM new_status) new_status
    RETURNING *
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT created.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM created, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), stored_tools AS (
    INSERT INTO chat_tools (chat_id, tools)
    SELECT created.id, :tools FROM created WHERE :tools::jsonb <> '[]'
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, model_config_id)
    SELECT created.id, chat_message_id(1, m.n), 1, m.role, m.content, m.visibility,
           m.model_config_id
    FROM created, chat_message_rows(:messages) m
    RETURNING *
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id, data)
    SELECT created.id, entry.*
    FROM created, LATERAL (
        SELECT 1, 'create', CASE WHEN :starts_turn THEN 'pending' ELSE 'waiting' END, 0, NULL::uuid,
               :actor_owner_id, :actor_token_id::uuid, jsonb_build_object(
                   'messages', (SELECT COALESCE(jsonb_agg(id ORDER BY id), '[]') FROM inserted))
        UNION ALL
        SELECT 2, 'claim', 'running', 1, created.worker_id, NULL, NULL, '{}'
        WHERE created.status = 'running'
    ) entry
    RETURNING version, created_at, data
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', round) FROM created
    WHERE status = 'running' AND :advance AND round > (SELECT last_value FROM chat_claimed_round)
), response AS (
    SELECT decision.outcome, chat_columns(created),
           entry.created_at AS entry_created_at, entry.data AS entry_data,
           claim.created_at AS claim_created_at, claim.data AS claim_data,
           0::bigint AS unclaimed_settled_part, NULL::text AS unclaimed_traceparent,
           (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages,
           (SELECT count(*) FROM advanced) AS rounds_advanced
    FROM decision LEFT JOIN created ON true LEFT JOIN entries entry ON entry.version = 1
                  LEFT JOIN entries claim ON claim.version = 2
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, 1,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: fork
-- Make a new chat of a chat's history up to `:message_id` (null: all of it), with its tools and the
-- files that its messages refer to. It is waiting. Hidden messages are left out. The messages keep
-- when they were written and what they cost, but the new chat has spent nothing. The source is not
-- locked: the statement sees it as of one moment.
--
-- Tool calls and their results stay together: results that follow on the last message are taken
-- along, and a message whose calls have no results yet is left out.
--
-- Summaries that were stored by then are copied with what they cover, so the model is shown what it
-- was then. `pruned_through` is kept if it is that of a copied message. The new chat is kept, even
-- if the source expires.
WITH source AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
), named_message AS MATERIALIZED (
    SELECT m.id, m.role, m.content @> '[{"type": "tool-call"}]' AS has_calls
    FROM source JOIN chat_messages m ON m.chat_id = source.id
    WHERE m.superseded_version IS NULL
      AND CASE WHEN :message_id::bigint IS NULL THEN true
               ELSE m.id = :message_id AND m.visibility IN ('both', 'user') END
    ORDER BY m.id DESC LIMIT 1
), results AS MATERIALIZED (
    SELECT next.id FROM named_message, LATERAL (
        SELECT id, role FROM chat_messages m
        WHERE m.chat_id = :chat_id AND m.id > named_message.id AND m.superseded_version IS NULL
        ORDER BY id LIMIT 1
    ) next
    WHERE named_message.has_calls AND next.role = 'tool'
), copied AS MATERIALIZED (
    SELECT m.*, row_number() OVER (ORDER BY m.id) AS n
    FROM named_message, chat_messages m
    WHERE m.chat_id = :chat_id AND m.superseded_version IS NULL
      AND m.id <= COALESCE((SELECT id FROM results),
                           named_message.id - named_message.has_calls::integer)
), files AS MATERIALIZED (
    SELECT DISTINCT f.id, f.size
    FROM copied, jsonb_path_query(copied.content, '$.**.file_id') AS reference (id)
    JOIN chat_files f ON f.chat_id = :chat_id AND f.id::text = reference.id #>> '{}'::text[]
), added AS MATERIALIZED (
    SELECT COALESCE((SELECT sum(octet_length(content::text)) FROM copied), 0)
           + COALESCE((SELECT pg_column_size(tools) FROM chat_tools WHERE chat_id = :chat_id), 0)
           + COALESCE((SELECT sum(size) FROM files), 0) AS bytes
), decision AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, added.bytes,
           CASE WHEN :message_id::bigint IS NOT NULL AND NOT EXISTS (SELECT FROM named_message)
                THEN 'message_not_found'
                ELSE COALESCE(chat_bytes_refusal(:owner_id, :limits, 0, added.bytes), 'done')
           END AS outcome
    FROM source, added
), created AS (
    INSERT INTO chats (id, root_chat_id, owner_id, title, title_by, labels, server_tools,
                       permissions, last_model_config_id, pruned_through, stored_bytes)
    SELECT decision.id, decision.id, source.owner_id, COALESCE(:title, source.title),
           CASE WHEN :title::text IS NULL THEN source.title_by ELSE 'caller' END,
           COALESCE(:labels, source.labels), source.server_tools,
           source.permissions - 'remembered', source.last_model_config_id,
           CASE WHEN source.pruned_through <= (SELECT max(id) FROM copied)
                THEN chat_message_id(1, (SELECT max(n) FROM copied
                                         WHERE id <= source.pruned_through)) END, decision.bytes
    FROM decision, source WHERE decision.outcome = 'done'
    RETURNING *
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT created.id, f.id, f.media_type, f.name, f.size, f.data
    FROM created, files JOIN chat_files f ON f.chat_id = :chat_id AND f.id = files.id
), stored_tools AS (
    INSERT INTO chat_tools (chat_id, tools)
    SELECT created.id, tools FROM created, chat_tools WHERE chat_tools.chat_id = :chat_id
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, covers_until,
                               model_config_id, finish_reason, input_tokens, output_tokens,
                               cache_read_tokens, cache_write_tokens, reasoning_tokens,
                               created_at)
    SELECT created.id, chat_message_id(1, m.n), 1, m.role, m.content, m.visibility,
           CASE WHEN m.covers_until IS NOT NULL
                THEN chat_message_id(1, (SELECT max(covered.n) FROM copied covered
                                         WHERE covered.id <= m.covers_until)) END,
           m.model_config_id, m.finish_reason, m.input_tokens, m.output_tokens,
           m.cache_read_tokens, m.cache_write_tokens, m.reasoning_tokens, m.created_at
    FROM created, copied m
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT created.id, version, 'fork', status, epoch, :actor_owner_id, :actor_token_id::uuid,
           jsonb_build_object(
               'forked_from', :chat_id::uuid,
               'from_message_id', (SELECT max(id) FROM copied),
               'copied_messages', (SELECT count(*) FROM copied))
    FROM created
    RETURNING created_at, data
), response AS (
    SELECT decision.outcome, chat_columns(created),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           NULL::jsonb AS messages
    FROM decision LEFT JOIN created ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, version
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: send
-- Store a user's message: in the history when the chat is idle, else as `:busy_behavior` says. A
-- chat without a title gets its `:first_words`. With `:caller_id` it is the message of another
-- chat, whose worker has that epoch (chat_agent_refusal).
--
-- `:earlier` messages of any role stand before it, unless it would be queued. The `:tools` of the
-- client replace those of the chat at once, also for the turn that runs. Null: they stay.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), added AS MATERIALIZED (
    SELECT content_bytes, bytes, new_tools,
           chat_bytes_refusal(locked.owner_id, :limits, locked.stored_bytes, bytes) AS refusal
    FROM (
        SELECT locked.*, new_tools, pg_column_size(:content::jsonb) AS content_bytes,
               pg_column_size(:content::jsonb)
               + CASE WHEN :earlier::jsonb <> '[]' THEN pg_column_size(:earlier::jsonb) ELSE 0 END
               + CASE WHEN new_tools IS NOT NULL
                      THEN pg_column_size(new_tools) - COALESCE(pg_column_size(old_tools), 0)
                      ELSE 0 END
               + chat_new_file_bytes(:chat_id, :file_ids, :file_data) AS bytes
        FROM locked LEFT JOIN LATERAL (
            SELECT old.tools AS old_tools,
                   NULLIF(:tools::jsonb, COALESCE(old.tools, '[]')) AS new_tools
            FROM (VALUES (locked.id)) this (id) LEFT JOIN chat_tools old ON old.chat_id = this.id
            WHERE :tools::jsonb IS NOT NULL
        ) tools ON true
    ) locked
), decision AS MATERIALIZED (
    SELECT locked.id, locked.version + 1 AS version,
           COALESCE(:model_config_id, locked.last_model_config_id) AS model_config_id,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN caller.refusal IS NOT NULL THEN caller.refusal
               WHEN locked.archived THEN 'chat_archived'
               WHEN added.refusal IS NOT NULL THEN added.refusal
               WHEN :earlier::jsonb <> '[]' AND NOT (
                        locked.status IN ('waiting', 'error') AND locked.queue_length = 0
                        OR :busy_behavior = 'interrupt'
                           AND locked.status IN ('pending', 'requires_action', 'parked'))
                   THEN 'chat_busy'
               WHEN locked.status IN ('waiting', 'error') THEN COALESCE(
                   CASE WHEN locked.parent_chat_id IS NULL
                        THEN chat_owner_refusal(locked.owner_id, :limits) END,
                   CASE WHEN locked.queue_length = 0 THEN 'append' ELSE 'append_and_dequeue' END)
               WHEN :busy_behavior = 'reject' THEN 'chat_busy'
               WHEN :busy_behavior = 'interrupt'
                    AND locked.status IN ('pending', 'requires_action', 'parked') THEN 'append'
               WHEN locked.queue_length >= :max_queued::integer THEN 'queue_full'
               WHEN :busy_behavior = 'interrupt' AND locked.status = 'running' THEN 'interrupt'
               ELSE 'enqueue'
           END AS plan,
           locked.title = '' AND locked.title_by = 'words' AND locked.queue_length = 0
               AND locked.status IN ('waiting', 'error') AND :first_words <> '' AS gives_title
    FROM locked, snapshot, added, LATERAL (
        SELECT CASE WHEN :caller_id::uuid IS NOT NULL
                    THEN chat_agent_refusal(:caller_id, :caller_worker_id, :caller_epoch, locked.id)
               END AS refusal
    ) caller
), queue_head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, decision
    WHERE decision.plan = 'append_and_dequeue' AND q.chat_id = decision.id
    ORDER BY q.position, q.id LIMIT 1
), dequeued AS (
    DELETE FROM chat_queued_messages q USING queue_head
    WHERE q.chat_id = queue_head.chat_id AND q.id = queue_head.id
), enqueued AS (
    INSERT INTO chat_queued_messages (chat_id, id, position, content, model_config_id,
                                      request_traceparent, bytes)
    SELECT decision.id, decision.version,
           CASE decision.plan
               WHEN 'interrupt' THEN (SELECT COALESCE(min(position), 0) - 1
                                      FROM chat_queued_messages WHERE chat_id = :chat_id)
               ELSE (SELECT COALESCE(max(position), 0) + 1
                     FROM chat_queued_messages WHERE chat_id = :chat_id)
           END, :content, decision.model_config_id, :request_traceparent, added.content_bytes
    FROM decision, added WHERE decision.plan IN ('enqueue', 'interrupt', 'append_and_dequeue')
    RETURNING *
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, '[]', :words) AS content FROM decision
    WHERE decision.plan IN ('append', 'append_and_dequeue')
      AND EXISTS (SELECT FROM chat_tool_calls t
                  WHERE t.chat_id = decision.id AND t.completed_at IS NULL)
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        title = CASE WHEN decision.gives_title THEN :first_words ELSE c.title END,
        status = CASE decision.plan WHEN 'enqueue' THEN c.status
                                    WHEN 'interrupt' THEN 'interrupting'
                                    ELSE 'pending' END,
        pending_since = CASE WHEN decision.plan IN ('append', 'append_and_dequeue')
                             THEN LEAST(c.pending_since, clock_timestamp())
                             ELSE c.pending_since END,
        round = CASE WHEN decision.plan NOT IN ('append', 'append_and_dequeue') THEN c.round
                     WHEN c.status = 'pending' THEN GREATEST(c.round, chat_front_round())
                     ELSE chat_next_round(c.owner_id) END,
        held = CASE WHEN c.status <> 'pending'
                         AND decision.plan IN ('append', 'append_and_dequeue')
                    THEN chat_must_hold(c.owner_id, :limits) ELSE c.held END,
        action_deadline = CASE WHEN decision.plan = 'append' THEN NULL ELSE c.action_deadline END,
        last_error = NULL,
        last_error_detail = NULL,
        recoveries = CASE WHEN decision.plan = 'append' THEN 0 ELSE c.recoveries END,
        attempts = CASE WHEN decision.plan = 'append' THEN 0 ELSE c.attempts END,
        next_attempt_at = CASE WHEN decision.plan <> 'append' THEN c.next_attempt_at END,
        turn_deadline_at = CASE WHEN decision.plan <> 'append' THEN c.turn_deadline_at END,
        queue_length = c.queue_length
            + CASE WHEN decision.plan IN ('enqueue', 'interrupt') THEN 1 ELSE 0 END,
        request_traceparent = CASE decision.plan
            WHEN 'append' THEN :request_traceparent
            WHEN 'append_and_dequeue' THEN (SELECT request_traceparent FROM queue_head)
            ELSE c.request_traceparent END,
        last_model_config_id = CASE decision.plan
            WHEN 'append' THEN decision.model_config_id
            WHEN 'append_and_dequeue' THEN (SELECT model_config_id FROM queue_head)
            ELSE c.last_model_config_id END,
        tools_version = CASE WHEN added.new_tools IS NOT NULL THEN c.version + 1
                             ELSE c.tools_version END,
        stored_bytes = c.stored_bytes + added.bytes + (
            SELECT COALESCE(sum(pg_column_size(content)), 0) FROM closed_calls)
    FROM decision, added
    WHERE c.id = decision.id
      AND decision.plan IN ('append', 'append_and_dequeue', 'enqueue', 'interrupt')
    RETURNING c.*
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), stored_tools AS (
    INSERT INTO chat_tools AS t (chat_id, tools)
    SELECT updated.id, added.new_tools FROM updated, added WHERE added.new_tools IS NOT NULL
    ON CONFLICT (chat_id) DO UPDATE SET tools = EXCLUDED.tools
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, model_config_id)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.model_config_id
    FROM updated, (
        SELECT 1 AS n, 'tool' AS role, content, NULL::uuid AS model_config_id
        FROM closed_calls WHERE content IS NOT NULL
        UNION ALL
        SELECT 1 + n, role, content, NULL FROM chat_message_rows(:earlier)
        UNION ALL
        SELECT 2 + jsonb_array_length(:earlier), 'user', :content, decision.model_config_id
        FROM decision WHERE decision.plan = 'append'
        UNION ALL
        SELECT 2, 'user', queue_head.content, queue_head.model_config_id FROM queue_head
    ) m
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT updated.id, updated.version, 'send', updated.status, updated.epoch, :actor_owner_id,
           :actor_token_id::uuid,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id ORDER BY id) FROM inserted),
               'queued', (SELECT id FROM enqueued),
               'promoted', (SELECT id FROM queue_head),
               'head', (SELECT enqueued.id FROM enqueued, decision
                        WHERE decision.plan = 'interrupt'),
               'from_chat_id', :caller_id::uuid,
               'queue_length', updated.queue_length))
           || CASE WHEN gives_title THEN chat_description(title, labels, archived)
                   ELSE '{}' END
    FROM updated, decision
    RETURNING created_at, data
), response AS (
    SELECT CASE WHEN updated.id IS NOT NULL THEN 'done' ELSE decision.plan END AS outcome,
           chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY id) FROM inserted) AS messages,
           (SELECT to_jsonb(enqueued) FROM enqueued) AS queued
    FROM decision LEFT JOIN updated ON true LEFT JOIN journal_entry ON true
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids,
                                  queued_id)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END,
           (SELECT array_agg(id ORDER BY id) FROM inserted), (SELECT id FROM enqueued)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: interrupt
-- Stop a chat and its descendants: ask the workers of those that run to stop, and stop those
-- without a worker at once. The head of the chat's queue then starts the next turn. The queues of
-- its descendants are emptied, so that none of them goes on. An idle chat is left as it is. The
-- first row is the chat itself. About `:caller_id`, see `send`.
--
-- No chat can start another one while it is locked. So the family is whole when, with all of it
-- locked, there is no descendant that is not.
WITH RECURSIVE tree AS (
    SELECT id FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    UNION
    SELECT c.id FROM chats c JOIN tree ON c.parent_chat_id = tree.id
), snapshot AS MATERIALIZED (
    SELECT id, version FROM chats WHERE id = ANY(ARRAY(SELECT id FROM tree))
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = ANY(ARRAY(SELECT id FROM snapshot))
    ORDER BY id FOR NO KEY UPDATE
), plans AS MATERIALIZED (
    SELECT locked.id, snapshot.version <> locked.version AS changed,
           CASE
               WHEN locked.status IN ('waiting', 'error') THEN 'unchanged'
               WHEN locked.status = 'interrupting'
                   THEN CASE WHEN locked.id = :chat_id OR locked.queue_length = 0 THEN 'unchanged'
                             ELSE 'empty_queue' END
               WHEN locked.status = 'running' THEN 'request_interrupt'
               WHEN locked.status IN ('pending', 'requires_action', 'parked') THEN 'stop'
               ELSE 'status_unknown'
           END AS plan
    FROM locked JOIN snapshot USING (id)
), decision AS MATERIALIZED (
    SELECT CASE
               WHEN has_changed OR members <> 1 + (
                   SELECT count(*) FROM chat_descendants(
                       CASE WHEN members > 0 THEN :chat_id::uuid END)) THEN 'stale'
               ELSE COALESCE(
                   CASE WHEN :caller_id::uuid IS NOT NULL
                        THEN chat_agent_refusal(:caller_id, :caller_worker_id, :caller_epoch,
                                                :chat_id) END,
                   CASE WHEN is_unknown THEN 'status_unknown' ELSE 'done' END)
           END AS outcome
    FROM (SELECT count(*) AS members, bool_or(changed) AS has_changed,
                 bool_or(plan = 'status_unknown') AS is_unknown FROM plans) family
    WHERE members > 0
), queue_head AS MATERIALIZED (
    SELECT q.* FROM chat_queued_messages q, plans, decision
    WHERE decision.outcome = 'done' AND plans.id = :chat_id AND plans.plan = 'stop'
      AND q.chat_id = plans.id
    ORDER BY q.position, q.id LIMIT 1
), dequeued AS (
    DELETE FROM chat_queued_messages q USING queue_head
    WHERE q.chat_id = queue_head.chat_id AND q.id = queue_head.id
), removed AS (
    DELETE FROM chat_queued_messages q USING plans, decision
    WHERE decision.outcome = 'done' AND plans.id <> :chat_id AND plans.plan <> 'unchanged'
      AND q.chat_id = plans.id
    RETURNING q.chat_id, q.id, q.bytes
), closed_calls AS MATERIALIZED (
    SELECT plans.id, chat_close_calls(plans.id, '[]', :words) AS content FROM plans, decision
    WHERE decision.outcome = 'done' AND plans.plan = 'stop'
), changes AS MATERIALIZED (
    SELECT plans.id, plans.plan <> 'stop' AS is_leased, closed_calls.content,
           queue_head.id AS head_id, queue_head.content AS head_content,
           queue_head.model_config_id, queue_head.request_traceparent,
           queue.ids AS removed_ids, COALESCE(queue.bytes, 0) AS removed_bytes,
           COALESCE(queue.length, 0) AS removed_length
    FROM plans JOIN decision ON decision.outcome = 'done'
    LEFT JOIN closed_calls ON closed_calls.id = plans.id
    LEFT JOIN queue_head ON queue_head.chat_id = plans.id
    LEFT JOIN (
        SELECT chat_id, jsonb_agg(id ORDER BY id) AS ids, sum(bytes) AS bytes, count(*) AS length
        FROM removed GROUP BY chat_id
    ) queue ON queue.chat_id = plans.id
    WHERE plans.plan <> 'unchanged'
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE WHEN is_leased THEN 'interrupting'
                      WHEN head_id IS NOT NULL THEN 'pending'
                      ELSE 'waiting' END,
        pending_since = CASE WHEN head_id IS NOT NULL
                             THEN LEAST(c.pending_since, clock_timestamp()) END,
        round = CASE WHEN head_id IS NULL THEN c.round
                     WHEN c.status = 'pending' THEN GREATEST(c.round, chat_front_round())
                     ELSE chat_next_round(c.owner_id) END,
        held = CASE WHEN head_id IS NULL THEN false
                    WHEN c.status = 'pending' THEN c.held
                    ELSE chat_must_hold(c.owner_id, :limits) END,
        action_deadline = NULL,
        recoveries = CASE WHEN is_leased THEN c.recoveries ELSE 0 END,
        attempts = CASE WHEN is_leased THEN c.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN is_leased THEN c.next_attempt_at END,
        turn_deadline_at = CASE WHEN is_leased THEN c.turn_deadline_at END,
        compaction_request = CASE WHEN is_leased THEN c.compaction_request END,
        queue_length = c.queue_length - (head_id IS NOT NULL)::integer - removed_length,
        request_traceparent = CASE WHEN head_id IS NOT NULL THEN changes.request_traceparent
                                   ELSE c.request_traceparent END,
        last_model_config_id = COALESCE(changes.model_config_id, c.last_model_config_id),
        stored_bytes = c.stored_bytes + COALESCE(pg_column_size(changes.content), 0)
            - removed_bytes
    FROM changes WHERE c.id = changes.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, model_config_id)
    SELECT updated.id, chat_message_id(updated.version, m.n), updated.version, m.role, m.content,
           m.model_config_id
    FROM updated JOIN changes USING (id), LATERAL (
        SELECT 1 AS n, 'tool' AS role, changes.content, NULL::uuid AS model_config_id
        WHERE changes.content IS NOT NULL
        UNION ALL
        SELECT 2, 'user', head_content, changes.model_config_id WHERE head_id IS NOT NULL
    ) m
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT updated.id, updated.version, 'interrupt', updated.status, updated.epoch, :actor_owner_id,
           :actor_token_id::uuid,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(inserted.id ORDER BY inserted.id) FROM inserted
                            WHERE inserted.chat_id = updated.id),
               'promoted', head_id,
               'removed', removed_ids,
               'from_chat_id', :caller_id::uuid,
               'queue_length', updated.queue_length))
    FROM updated JOIN changes USING (id)
    RETURNING chat_id, created_at, data
), chat AS (
    SELECT * FROM updated
    UNION ALL
    SELECT locked.* FROM locked, plans
    WHERE locked.id = :chat_id AND plans.id = locked.id AND plans.plan = 'unchanged'
), response AS (
    SELECT decision.outcome, chat_columns(chat),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           (SELECT jsonb_agg(to_jsonb(inserted) ORDER BY inserted.id) FROM inserted
            WHERE inserted.chat_id = chat.id) AS messages
    FROM decision LEFT JOIN chat ON decision.outcome = 'done'
    LEFT JOIN journal_entry ON journal_entry.chat_id = chat.id
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END,
           (SELECT array_agg(id ORDER BY id) FROM inserted WHERE inserted.chat_id = response.id)
    FROM response
    WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done' AND id = :chat_id
)
SELECT * FROM response ORDER BY id <> :chat_id;

-- name: retry
-- Run a failed turn again without a new message. Queued messages stay in the queue.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), decision AS MATERIALIZED (
    SELECT locked.id, CASE WHEN locked.version <> snapshot.version THEN 'stale'
                           WHEN locked.status <> 'error' THEN 'nothing_to_retry'
                           WHEN locked.archived THEN 'chat_archived'
                           WHEN locked.parent_chat_id IS NOT NULL THEN 'done'
                           ELSE COALESCE(chat_owner_refusal(locked.owner_id, :limits), 'done')
                      END AS outcome
    FROM locked, snapshot
), pending AS MATERIALIZED (
    SELECT held, NOT held AND model_config_id = ANY(:models::uuid[]) AS claimed
    FROM (SELECT chat_must_hold(locked.owner_id, :limits) AS held,
                 locked.last_model_config_id AS model_config_id
          FROM locked, decision WHERE decision.outcome = 'done') chat
), updated AS (
    UPDATE chats c SET
        version = c.version + 1 + claimed::integer,
        updated_at = clock_timestamp(),
        status = CASE WHEN claimed THEN 'running' ELSE 'pending' END,
        pending_since = CASE WHEN NOT claimed THEN clock_timestamp() END,
        round = chat_next_round(c.owner_id),
        held = pending.held,
        epoch = c.epoch + claimed::integer,
        settled_part = CASE WHEN claimed THEN 0 ELSE c.settled_part END,
        worker_id = CASE WHEN claimed THEN :worker_id::uuid END,
        started_at = CASE WHEN claimed THEN clock_timestamp() END,
        heartbeat_at = CASE WHEN claimed THEN clock_timestamp() END,
        request_traceparent = :request_traceparent,
        claim_traceparent = CASE WHEN claimed AND (c.lapsed_step = c.committed_steps) IS NOT TRUE
                                 THEN :claim_traceparent ELSE c.claim_traceparent END,
        last_error = NULL,
        last_error_detail = NULL
    FROM decision, pending WHERE c.id = decision.id
    RETURNING c.*
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id)
    SELECT updated.id, entry.*
    FROM updated, pending, LATERAL (
        SELECT version - claimed::integer, 'retry', 'pending', epoch - claimed::integer,
               NULL::uuid, :actor_owner_id, :actor_token_id::uuid
        UNION ALL
        SELECT version, 'claim', 'running', epoch, worker_id, NULL, NULL WHERE claimed
    ) entry
    RETURNING transition, version, created_at, data
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', round) FROM updated
    WHERE status = 'running' AND :advance AND round > (SELECT last_value FROM chat_claimed_round)
), response AS (
    SELECT decision.outcome, chat_columns(updated), entry.version AS entry_version,
           entry.created_at AS entry_created_at, entry.data AS entry_data,
           claim.created_at AS claim_created_at, claim.data AS claim_data,
           locked.settled_part AS unclaimed_settled_part,
           locked.claim_traceparent AS unclaimed_traceparent,
           NULL::jsonb AS messages,
           (SELECT count(*) FROM advanced) AS rounds_advanced
    FROM decision JOIN locked ON true LEFT JOIN updated ON true
                  LEFT JOIN entries entry ON entry.transition = 'retry'
                  LEFT JOIN entries claim ON claim.transition = 'claim'
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, entry_version
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: describe
-- Change the title, the labels or the permissions; null keeps the present value. A change of the
-- permissions, an object of "mode" or "rules" or both, forgets what was remembered. A running turn
-- is not disturbed.
WITH updated AS (
    UPDATE chats SET
        version = version + 1,
        updated_at = clock_timestamp(),
        title = COALESCE(:title, title),
        title_by = CASE WHEN :title::text IS NULL THEN title_by ELSE 'caller' END,
        labels = COALESCE(:labels, labels),
        permissions = CASE WHEN :permissions::jsonb IS NULL THEN permissions
                           ELSE COALESCE(permissions - 'remembered', '{}') || :permissions END
    WHERE id = :chat_id AND owner_id = :owner_id
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT id, version, 'describe', status, epoch, :actor_owner_id, :actor_token_id::uuid,
           chat_description(title, labels, archived)
    FROM updated
    RETURNING created_at, data
), response AS (
    SELECT 'done' AS outcome, chat_columns(updated),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           NULL::jsonb AS messages
    FROM updated, journal_entry
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END
    FROM response WHERE :idempotency_key::text IS NOT NULL
)
SELECT * FROM response;

-- name: archive
-- Archive or unarchive the whole tree of a chat, or nothing when a chat of it is busy. The first
-- row is the chat itself, which may get a new title and labels in the same transition. Only idle
-- chats are locked, in the order of their ids, so a heartbeat that renews several of them is not
-- in the way.
WITH target AS MATERIALIZED (
    SELECT root_chat_id FROM chats
    WHERE id = :chat_id AND owner_id = :owner_id
), tree AS MATERIALIZED (
    SELECT count(*) AS size FROM chats c, target WHERE c.root_chat_id = target.root_chat_id
), locked AS MATERIALIZED (
    SELECT c.* FROM chats c, target
    WHERE c.root_chat_id = target.root_chat_id AND c.status IN ('waiting', 'error')
    ORDER BY c.id FOR NO KEY UPDATE OF c
), decision AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM locked) = tree.size THEN 'done'
                ELSE 'chat_tree_busy' END AS outcome
    FROM tree, target
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        archived = :archived,
        title = CASE WHEN c.id = :chat_id THEN COALESCE(:title, c.title) ELSE c.title END,
        title_by = CASE WHEN c.id = :chat_id AND :title::text IS NOT NULL THEN 'caller'
                        ELSE c.title_by END,
        labels = CASE WHEN c.id = :chat_id THEN COALESCE(:labels, c.labels) ELSE c.labels END,
        permissions = CASE
            WHEN c.id <> :chat_id OR :permissions::jsonb IS NULL THEN c.permissions
            ELSE COALESCE(c.permissions - 'remembered', '{}') || :permissions END
    FROM locked, decision
    WHERE c.id = locked.id AND decision.outcome = 'done'
      AND (locked.archived <> :archived
           OR c.id = :chat_id AND (:title::text IS NOT NULL OR :labels::jsonb IS NOT NULL
                                   OR :permissions::jsonb IS NOT NULL))
    RETURNING c.*
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, actor_owner_id,
                             actor_token_id, data)
    SELECT id, version, CASE WHEN :archived THEN 'archive' ELSE 'unarchive' END, status, epoch,
           :actor_owner_id, :actor_token_id::uuid,
           chat_description(title, labels, archived)
    FROM updated
    RETURNING chat_id, created_at, data
), chat AS (
    SELECT * FROM updated
    UNION ALL
    SELECT * FROM locked
    WHERE id = :chat_id AND NOT EXISTS (SELECT FROM updated WHERE updated.id = :chat_id)
), response AS (
    SELECT decision.outcome, chat_columns(chat),
           journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
           NULL::jsonb AS messages
    FROM decision LEFT JOIN chat ON true LEFT JOIN journal_entry ON journal_entry.chat_id = chat.id
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id,
           CASE WHEN entry_created_at IS NOT NULL THEN version END
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done' AND id = :chat_id
)
SELECT * FROM response ORDER BY id <> :chat_id;

-- name: expired
-- Read some chats that have expired and are idle, with all that they started, the first ones first.
-- Waiting for an answer counts as idle: nobody can give one any more.
SELECT c.id, c.owner_id FROM chats c
WHERE c.parent_chat_id IS NULL AND c.expires_at < clock_timestamp()
  AND c.status IN ('waiting', 'error', 'requires_action')
  AND NOT EXISTS (SELECT FROM chats f WHERE f.root_chat_id = c.id
                    AND f.status NOT IN ('waiting', 'error', 'requires_action'))
ORDER BY c.expires_at LIMIT :limit;

-- name: delete
-- Delete a chat and its descendants with everything stored of them. A worker that still holds
-- one has no row left to write to. A subscriber of the list finds a tombstone, and a request
-- that is repeated with its idempotency key finds the key without a chat. With `:only_expired`
-- nothing is deleted unless `expired` would find the chat.
WITH RECURSIVE tree AS (
    SELECT id FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    UNION ALL
    SELECT c.id FROM chats c JOIN tree ON c.parent_chat_id = tree.id
), locked AS MATERIALIZED (
    SELECT c.id, c.status, c.expires_at FROM chats c JOIN tree ON tree.id = c.id
    ORDER BY c.id FOR UPDATE OF c
), decision AS MATERIALIZED (  -- whether the family is whole, as in `interrupt`
    SELECT CASE WHEN members <> 1 + (SELECT count(*) FROM chat_descendants(
                    CASE WHEN members > 0 THEN :chat_id::uuid END)) THEN 'stale'
                WHEN :only_expired AND is_kept THEN 'kept'
                ELSE 'done' END AS outcome
    FROM (SELECT count(*) AS members,
                 bool_or((expires_at < clock_timestamp()
                          AND status IN ('waiting', 'error', 'requires_action')) IS NOT TRUE)
                     AS is_kept FROM locked) family
    WHERE members > 0
), deleted AS (
    DELETE FROM chats c USING locked, decision
    WHERE c.id = locked.id AND decision.outcome = 'done'
    RETURNING c.id, c.owner_id, c.version, c.root_chat_id AS family_root, c.expires_at
), deleted_parts AS (
    DELETE FROM chat_parts WHERE chat_id = ANY(ARRAY(SELECT id FROM deleted))
), deleted_words AS (
    DELETE FROM chat_message_words WHERE chat_id = ANY(ARRAY(SELECT id FROM deleted))
), deleted_positions AS (
    DELETE FROM chat_search_positions WHERE chat_id = ANY(ARRAY(SELECT id FROM deleted))
), tombstones AS (
    INSERT INTO chat_tombstones (owner_id, chat_id, listed)
    SELECT owner_id, id, expires_at IS NULL FROM deleted
)
SELECT decision.outcome, deleted.* FROM decision LEFT JOIN deleted ON true;
