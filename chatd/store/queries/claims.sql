-- Claims: taking pending chats.

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
