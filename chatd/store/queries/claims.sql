-- Claims: taking pending chats, and chats that become pending in the same statement.

-- name: claim
-- Claim pending chats of the given models, and skip those that another worker is claiming. A chat
-- that was reclaimed from a dead worker keeps the traceparent of its first claim. There is at least
-- one row, which tells what the claim has seen.
--
-- The line of each model is in the order of rounds (chat_next_round), or the oldest first. Chats
-- that a worker had before are ahead of all later rounds. Of those that lost `:suspect_recoveries`
-- workers or more, at most `:suspects` are taken.
--
-- A claim starts from `:from_round`, or from `:from_time`, because a long snapshot keeps the index
-- entries of all chats that were claimed before. More candidates are read than are claimed, since
-- other workers may hold the first ones.
--
-- Chats of `:excluded` are left out. When `:only` is not null, no other chats are claimed, and
-- `due_ids` are those that would be claimed without it.
--
-- The parameters stand in a CTE, so that plans are the same for all of them and PostgreSQL makes
-- one for many claims: to plan this statement takes longer than to run it.
WITH request AS MATERIALIZED (
    SELECT :models::uuid[] AS models, :limit::integer AS max_claims,
           :limit * 2 + 8 AS max_candidates, :oldest_first::boolean AS oldest_first,
           :from_round::bigint AS from_round, :from_time::timestamptz AS from_time,
           :suspect_recoveries::integer AS suspect_recoveries, :suspects::integer AS suspects,
           :advance::boolean AS advance, :excluded::uuid[] AS excluded, :only::uuid[] AS only_ids,
           clock_timestamp() AS now
), models AS MATERIALIZED (
    SELECT unnest(models) AS id FROM request
), line AS MATERIALIZED (
    SELECT head.* FROM models CROSS JOIN LATERAL (
        SELECT ctid AS place, round, pending_since FROM chats
        WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
          AND last_model_config_id = models.id AND round >= (SELECT from_round FROM request)
        ORDER BY round, pending_since LIMIT (SELECT max_candidates FROM request)
    ) head
    WHERE (SELECT NOT oldest_first FROM request)
), oldest AS MATERIALIZED (
    SELECT head.* FROM models CROSS JOIN LATERAL (
        SELECT ctid AS place, pending_since FROM chats
        WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
          AND last_model_config_id = models.id
          AND pending_since >= (SELECT from_time FROM request)
        ORDER BY pending_since LIMIT (SELECT max_candidates FROM request)
    ) head
    WHERE (SELECT oldest_first FROM request)
), returned AS MATERIALIZED (
    SELECT head.*
    FROM models CROSS JOIN (VALUES (0), (1)) AS lost (times) CROSS JOIN LATERAL (
        SELECT ctid AS place, pending_since FROM chats
        WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
          AND last_model_config_id = models.id AND recoveries = lost.times
          AND pending_since <= (SELECT now FROM request)
        ORDER BY pending_since LIMIT (SELECT max_candidates FROM request)
    ) head
    WHERE lost.times < (SELECT suspect_recoveries FROM request)
), suspects AS MATERIALIZED (
    SELECT head.* FROM models CROSS JOIN LATERAL (
        SELECT ctid AS place, pending_since FROM chats
        WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
          AND last_model_config_id = models.id
          AND recoveries >= (SELECT suspect_recoveries FROM request)
          AND pending_since <= (SELECT now FROM request)
        ORDER BY recoveries, pending_since LIMIT (SELECT suspects FROM request)
    ) head
    ORDER BY head.pending_since LIMIT (SELECT suspects FROM request)
), candidates AS MATERIALIZED (
    SELECT place, round, pending_since, round AS round_in_line FROM line
    UNION ALL
    SELECT place, 0, pending_since, NULL FROM oldest
    UNION ALL
    SELECT place, COALESCE((SELECT min(round) FROM line), 0), pending_since, NULL
    FROM (SELECT * FROM returned UNION ALL SELECT * FROM suspects) back
    ORDER BY 2, 3
), due AS MATERIALIZED (
    SELECT locked.*, candidates.round_in_line FROM candidates CROSS JOIN LATERAL (
        SELECT id, GREATEST(updated_at, pending_since) AS waiting_since FROM chats
        WHERE ctid = candidates.place AND status = 'pending' AND NOT held
          AND id <> ALL((SELECT excluded FROM request)::uuid[])
        FOR NO KEY UPDATE SKIP LOCKED
    ) locked
    LIMIT (SELECT max_claims FROM request)
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', max(round_in_line)) AS round FROM due
    HAVING max(round_in_line) > (SELECT last_value FROM chat_claimed_round)
       AND (count(*) = (SELECT max_claims FROM request) OR (SELECT advance FROM request))
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = 'running',
        worker_id = :worker_id,
        epoch = c.epoch + 1,
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        pending_since = NULL,
        settled_part = 0,
        claim_traceparent = CASE WHEN c.recoveries > 0 OR c.lapsed_step = c.committed_steps
                                 THEN c.claim_traceparent ELSE :claim_traceparent END
    WHERE c.id = ANY(ARRAY(
        SELECT due.id FROM due, request WHERE only_ids IS NULL OR due.id = ANY(only_ids)))
    RETURNING c.*
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id)
    SELECT id, version, 'claim', status, epoch, worker_id FROM updated
    RETURNING chat_id, created_at, data
), next_due AS MATERIALIZED (
    SELECT min(head.pending_since) AS at
    FROM models CROSS JOIN (VALUES (0), (1)) AS lost (times) CROSS JOIN LATERAL (
        SELECT pending_since FROM chats
        WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
          AND last_model_config_id = models.id AND recoveries = lost.times
          AND pending_since > (SELECT now FROM request)
        ORDER BY pending_since LIMIT 1
    ) head
), seen AS MATERIALIZED (
    SELECT (SELECT count(*) FROM candidates) > request.max_claims AS candidates_left,
           GREATEST(position.last_value, (SELECT round FROM advanced)) AS claimed_round,
           COALESCE((SELECT min(pending_since) FROM oldest), request.now) AS oldest_pending,
           EXTRACT(EPOCH FROM next_due.at - clock_timestamp())::float8 AS next_due_in,
           (SELECT array_agg(id) FROM due) AS due_ids
    FROM request, next_due, chat_claimed_round AS position
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       NULL::jsonb AS messages,
       EXTRACT(EPOCH FROM updated.turn_deadline_at - clock_timestamp())::float8
           AS turn_seconds_left,
       EXTRACT(EPOCH FROM updated.started_at - due.waiting_since)::float8 AS pending_seconds,
       seen.*
FROM seen LEFT JOIN (
    updated JOIN due ON due.id = updated.id
            JOIN journal_entry ON journal_entry.chat_id = updated.id
) ON true;

-- name: send_and_claim
-- `send` messages to idle chats and `claim` these, in one statement: for each chat two versions,
-- two journal entries and a row that is updated once. Every table is left as if each message had
-- been sent and its chat claimed alone, in the order of ids. The parameters are arrays with an
-- element for each message, all to different chats, and the files of the only one. No row: nothing
-- was done, because the two would do something else. Then `send` says what.
--
-- So it is for a chat that appends the message to its history and may be claimed at once: idle,
-- not archived, with nothing queued, no open tool calls, a model of this worker, the tools that the
-- message brings (of `:tools_versions`, unless null), and below all limits of its owner. Near a
-- limit the owner is locked to tell, or its files are added up. Such a message `goes_alone`: it has
-- a row without a chat, and is to be sent without others. The statement never waits for a chat,
-- since `send` does. The locks that follow are taken in the same order as there, and keys in their
-- own order.
--
-- `:advance` is that of `claim`, whose line holds no chat. All rounds begin where the line was.
--
-- The arrays stand in a CTE, so that one plan serves any number of messages. A chat that has
-- changed since the statement began, `seen`, is passed by like one that is locked. So a chat is
-- looked up once, and then found at its place. By any of its columns a plan that was made for an
-- empty table would read all chats, or all of the owner, for as long as the connection lives.
--
-- The result has the message as it was given, and the update's moment for all that it stored: joins
-- with what was inserted cost more than the inserts.
WITH parameters AS MATERIALIZED (
    SELECT :chat_ids::uuid[] AS chat_ids, :owner_ids::text[] AS owner_ids,
           :contents::text[] AS contents, :first_words::text[] AS first_words,
           :model_config_ids::uuid[] AS model_config_ids,
           :tools_versions::bigint[] AS tools_versions,
           :request_traceparents::text[] AS request_traceparents,
           :claim_traceparents::text[] AS claim_traceparents,
           :actor_owner_ids::text[] AS actor_owner_ids,
           :actor_token_ids::uuid[] AS actor_token_ids,
           :idempotency_owners::text[] AS idempotency_owners,
           :idempotency_keys::text[] AS idempotency_keys,
           :request_hashes::bytea[] AS request_hashes
), message AS MATERIALIZED (
    SELECT m.*, m.json_text::jsonb AS content, seen.*,
           pg_column_size(m.json_text::jsonb)
           + chat_new_file_bytes(m.chat_id, :file_ids, :file_data) AS bytes
    FROM parameters, unnest(
        chat_ids, owner_ids, contents, first_words, model_config_ids, tools_versions,
        request_traceparents, claim_traceparents, actor_owner_ids, actor_token_ids,
        idempotency_owners, idempotency_keys, request_hashes
    ) AS m (chat_id, owner_id, json_text, first_words, model_config_id, tools_version,
            request_traceparent, new_claim_traceparent, actor_owner_id, actor_token_id,
            idempotency_owner, idempotency_key, request_hash)
    CROSS JOIN LATERAL (
        SELECT version AS seen_version, ctid AS place FROM chats WHERE id = m.chat_id LIMIT 1
    ) seen
    ORDER BY m.chat_id
), locked AS MATERIALIZED (
    SELECT message.*, chat.* FROM message CROSS JOIN LATERAL (
        SELECT c.version, c.stored_bytes, c.settled_part, c.claim_traceparent,
               c.title = '' AND c.title_by = 'words' AND message.first_words <> '' AS gives_title
        FROM chats c
        WHERE c.ctid = message.place AND c.version = message.seen_version
          AND c.owner_id = message.owner_id
          AND c.status IN ('waiting', 'error') AND c.queue_length = 0 AND NOT c.archived
          AND COALESCE(message.model_config_id, c.last_model_config_id) = ANY(:models::uuid[])
          AND COALESCE(message.tools_version = COALESCE(c.tools_version, 0), true)
        FOR NO KEY UPDATE SKIP LOCKED
    ) chat
), owners AS MATERIALIZED (
    SELECT owner_id, chat_next_round(owner_id) AS first_round,
           chat_is_far_from_limits(owner_id, :limits, :turns_under_way + count(*))
               AS is_far
    FROM locked GROUP BY owner_id
), accepted AS MATERIALIZED (
    SELECT locked.*, owners.first_round,
           cardinality(:chat_ids) > 1 AND (NOT is_far OR bytes >= 65536) AS goes_alone
    FROM locked JOIN owners USING (owner_id)
    WHERE NOT EXISTS (SELECT FROM chat_tool_calls t
                      WHERE t.chat_id = locked.chat_id AND t.completed_at IS NULL)
      AND chat_bytes_refusal(owner_id, :limits, stored_bytes, bytes) IS NULL
      AND (is_far OR cardinality(:chat_ids) > 1
           OR chat_owner_refusal(owner_id, :limits) IS NULL
              AND NOT chat_must_hold(owner_id, :limits))
), saved_keys AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT idempotency_owner, idempotency_key, request_hash, chat_id, version + 1,
           ARRAY[chat_message_id(version + 1, 2)]
    FROM accepted WHERE idempotency_key IS NOT NULL AND NOT goes_alone
    ORDER BY idempotency_owner, idempotency_key
    ON CONFLICT DO NOTHING
    RETURNING chat_id
), new AS MATERIALIZED (
    SELECT *, first_round - 1
              + row_number() OVER (PARTITION BY owner_id ORDER BY chat_id) AS new_round
    FROM accepted
    WHERE NOT goes_alone
      AND (idempotency_key IS NULL OR chat_id IN (SELECT chat_id FROM saved_keys))
), updated AS (
    UPDATE chats c SET
        version = c.version + 2,
        updated_at = clock_timestamp(),
        title = CASE WHEN new.gives_title THEN new.first_words ELSE c.title END,
        status = 'running',
        worker_id = :worker_id,
        epoch = c.epoch + 1,
        started_at = clock_timestamp(),
        heartbeat_at = clock_timestamp(),
        round = new.new_round,
        settled_part = 0,
        last_error = NULL,
        last_error_detail = NULL,
        request_traceparent = new.request_traceparent,
        claim_traceparent = CASE WHEN c.lapsed_step = c.committed_steps
                                 THEN c.claim_traceparent ELSE new.new_claim_traceparent END,
        last_model_config_id = COALESCE(new.model_config_id, c.last_model_config_id),
        stored_bytes = c.stored_bytes + new.bytes
    FROM new WHERE c.ctid = new.place
    RETURNING c.*, new.content, new.actor_owner_id, new.actor_token_id,
              jsonb_build_object(
                  'messages', jsonb_build_array(chat_message_id(c.version - 1, 2)),
                  'queue_length', 0)
              || CASE WHEN new.gives_title THEN chat_description(c.title, c.labels, c.archived)
                      ELSE '{}' END AS entry_data
), stored_files AS (
    INSERT INTO chat_files (chat_id, id, media_type, name, size, data)
    SELECT updated.id, f.id, f.media_type, f.name, length(f.data), f.data
    FROM updated, unnest(:file_ids::uuid[], :file_media_types::text[], :file_names::text[],
                    :file_data::bytea[]) AS f (id, media_type, name, data)
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content, model_config_id, created_at)
    SELECT id, chat_message_id(version - 1, 2), version - 1, 'user', content, last_model_config_id,
           updated_at
    FROM updated
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id, data, created_at)
    SELECT updated.id, entry.*, updated.updated_at
    FROM updated, LATERAL (VALUES
        (updated.version - 1, 'send', 'pending', updated.epoch - 1, NULL, updated.actor_owner_id,
         updated.actor_token_id, updated.entry_data),
        (updated.version, 'claim', 'running', updated.epoch, updated.worker_id, NULL, NULL, '{}')
    ) entry
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', max(round)) FROM updated
    HAVING :advance AND max(round) > (SELECT last_value FROM chat_claimed_round)
)
SELECT accepted.chat_id, accepted.goes_alone, chat_columns(updated),
       updated.updated_at AS entry_created_at, updated.entry_data,
       updated.updated_at AS claim_created_at, '{}'::jsonb AS claim_data,
       accepted.settled_part AS unclaimed_settled_part,
       accepted.claim_traceparent AS unclaimed_traceparent,
       jsonb_build_array(jsonb_build_object(
           'role', 'user', 'content', updated.content,
           'model_config_id', updated.last_model_config_id)) AS new_messages,
       accepted.bytes AS new_bytes,
       (SELECT count(*) FROM advanced) AS rounds_advanced
FROM accepted
LEFT JOIN updated ON updated.id = accepted.chat_id
WHERE accepted.goes_alone OR updated.id IS NOT NULL;
