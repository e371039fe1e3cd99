-- Answers to what a chat asks: approvals, results of the client's tools, inputs, and deadlines.

-- name: answer_action
-- Store answers to calls that are asked. While others are asked, the chat goes on asking. Else it
-- becomes pending, with the message that has the results of all calls if all have one. `:answers`
-- are objects of tool_call_id, kind, decision and state: 'ready' (it may run) or 'closed', with
-- result and is_error. A call whose tool asked for the input is ready to go on in any case.
-- `number` says which of the questions about the call is meant, and is 0 if it is left out.
--
-- Any of the asked calls may be answered. If `:complete`, all that the client runs must be, and no
-- other. The same answer again changes nothing, whatever the chat does by now. Any other one is
-- refused with the decisions that stand, and so is the whole request. A decision with `remember` is
-- kept in the permissions of the chat, for up to 200 tools. About 'stale' and the claim, see
-- chats.sql.
WITH snapshot AS MATERIALIZED (
    SELECT version FROM chats WHERE id = :chat_id
), locked AS MATERIALIZED (
    SELECT * FROM chats WHERE id = :chat_id AND owner_id = :owner_id
    FOR NO KEY UPDATE
), input AS MATERIALIZED (
    SELECT item->>'tool_call_id' AS tool_call_id, item, n,
           row_number() OVER (PARTITION BY item->>'tool_call_id' ORDER BY n) AS occurrence
    FROM jsonb_array_elements(:answers) WITH ORDINALITY AS answers (item, n)
), judged AS MATERIALIZED (
    SELECT input.*, t.message_id, t.tool_name, t.decision,
           CASE WHEN t.continuation IS NOT NULL THEN 'ready' ELSE item->>'state' END AS next_state,
           CASE WHEN t.question IS NULL OR input.occurrence > 1 THEN 'unknown'
                WHEN t.number > t.last_number OR t.kind <> item->>'kind' THEN 'mismatch'
                WHEN t.number = t.last_number AND t.state = 'asked' THEN 'new'
                WHEN t.decision = item->'decision'
                     AND (item->>'kind' <> 'result'
                          OR t.answer->'result' = item->'result'
                             AND t.answer->'is_error' = item->'is_error') THEN 'same'
                ELSE 'decided' END AS verdict
    FROM input LEFT JOIN LATERAL (
        SELECT c.message_id, c.tool_name, c.state, c.question, c.answer, c.continuation,
               number, last_number,
               CASE WHEN number < last_number THEN c.earlier_decisions->number->>'kind'
                    ELSE c.question->>'kind' END AS kind,
               CASE WHEN number < last_number THEN c.earlier_decisions->number->'decision'
                    ELSE c.decision END AS decision
        FROM locked JOIN chat_tool_calls c ON c.chat_id = locked.id, LATERAL (
            SELECT COALESCE((item->>'number')::integer, 0) AS number,
                   jsonb_array_length(c.earlier_decisions) AS last_number) numbers
        WHERE c.tool_call_id = input.tool_call_id AND c.question IS NOT NULL
        ORDER BY c.message_id DESC LIMIT 1
    ) t ON true
), unanswered AS MATERIALIZED (
    SELECT t.* FROM locked JOIN chat_tool_calls t ON t.chat_id = locked.id
    WHERE t.completed_at IS NULL AND t.state = 'asked'
      AND NOT EXISTS (SELECT FROM judged
                      WHERE judged.tool_call_id = t.tool_call_id AND judged.verdict = 'new')
), problems AS MATERIALIZED (
    SELECT array_agg(tool_call_id ORDER BY n)
               FILTER (WHERE verdict = 'unknown' OR :complete AND verdict <> 'new') AS unknown,
           array_agg(tool_call_id ORDER BY n) FILTER (WHERE verdict = 'mismatch') AS mismatched,
           array_agg(tool_call_id ORDER BY n) FILTER (WHERE verdict = 'decided') AS decided,
           jsonb_agg(jsonb_build_object(
                         'tool_call_id', tool_call_id, 'decision', decision->'decision',
                         'reason', decision->'reason') ORDER BY n)
               FILTER (WHERE verdict = 'decided') AS decisions,
           (SELECT array_agg(tool_call_id ORDER BY message_id, position) FROM unanswered
            WHERE :complete AND question->>'kind' = 'result') AS missing,
           bool_or(verdict = 'new') AS has_new
    FROM judged
), decision AS MATERIALIZED (
    SELECT locked.id,
           CASE
               WHEN locked.version <> snapshot.version THEN 'stale'
               WHEN :complete AND locked.status <> 'requires_action' THEN 'no_action_required'
               WHEN problems.unknown IS NOT NULL THEN 'tool_call_unknown'
               WHEN problems.mismatched IS NOT NULL THEN 'answer_mismatch'
               WHEN problems.decided IS NOT NULL THEN 'already_answered'
               WHEN problems.missing IS NOT NULL THEN 'tool_results_missing'
               WHEN NOT problems.has_new THEN 'unchanged'
               WHEN locked.status <> 'requires_action' THEN 'no_action_required'
               ELSE COALESCE(chat_bytes_refusal(locked.owner_id, :limits, locked.stored_bytes,
                                                pg_column_size(:answers::jsonb)), 'done')
           END AS outcome
    FROM locked, snapshot, problems
), readied AS (
    UPDATE chat_tool_calls t SET
        state = 'ready',
        expires_at = NULL,
        decision = judged.item->'decision'
    FROM judged, decision
    WHERE decision.outcome = 'done' AND judged.verdict = 'new' AND judged.next_state = 'ready'
      AND t.chat_id = decision.id AND t.message_id = judged.message_id
      AND t.tool_call_id = judged.tool_call_id
    RETURNING t.*
), closed_calls AS MATERIALIZED (
    SELECT chat_close_calls(decision.id, (
               SELECT COALESCE(jsonb_agg(item ORDER BY n), '[]') FROM judged
               WHERE verdict = 'new' AND next_state = 'closed'), '{}') AS content
    FROM decision WHERE decision.outcome = 'done'
), next AS MATERIALIZED (
    SELECT asking, held, NOT asking AND NOT held AND model_config_id = ANY(:models::uuid[])
               AS claimed, deadline,
           (SELECT jsonb_object_agg(tool_name, item->'decision'->'decision') FROM judged
            WHERE verdict = 'new' AND item->'decision' ? 'remember') AS remembered
    FROM (SELECT asking, NOT asking AND chat_must_hold(owner_id, :limits) AS held,
                 model_config_id, deadline
          FROM (SELECT locked.owner_id, locked.last_model_config_id AS model_config_id,
                       EXISTS (SELECT FROM unanswered) AS asking,
                       (SELECT min(COALESCE(expires_at, locked.action_deadline))
                        FROM unanswered) AS deadline
                FROM locked, decision WHERE decision.outcome = 'done') chat) chat
), updated AS (
    UPDATE chats c SET
        version = c.version + 1 + claimed::integer,
        updated_at = clock_timestamp(),
        status = CASE WHEN asking THEN c.status WHEN claimed THEN 'running' ELSE 'pending' END,
        pending_since = CASE WHEN NOT asking AND NOT claimed THEN clock_timestamp() END,
        round = CASE WHEN asking THEN c.round ELSE chat_next_round(c.owner_id) END,
        held = next.held,
        epoch = c.epoch + claimed::integer,
        settled_part = CASE WHEN claimed THEN 0 ELSE c.settled_part END,
        worker_id = CASE WHEN claimed THEN :worker_id::uuid END,
        started_at = CASE WHEN claimed THEN clock_timestamp() END,
        heartbeat_at = CASE WHEN claimed THEN clock_timestamp() END,
        action_deadline = next.deadline,
        permissions = CASE
            WHEN next.remembered IS NULL OR (
                SELECT count(*) FROM jsonb_object_keys(c.permissions->'remembered')) >= 200
            THEN c.permissions
            ELSE COALESCE(c.permissions, '{}') || jsonb_build_object(
                'remembered', COALESCE(c.permissions->'remembered', '{}') || next.remembered) END,
        request_traceparent = COALESCE(:request_traceparent, c.request_traceparent),
        claim_traceparent = CASE WHEN claimed AND (c.lapsed_step = c.committed_steps) IS NOT TRUE
                                 THEN :claim_traceparent ELSE c.claim_traceparent END,
        stored_bytes = c.stored_bytes + pg_column_size(:answers::jsonb)
    FROM decision, next WHERE c.id = decision.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT id, chat_message_id(answered, 1), answered, 'tool', content
    FROM (SELECT id, version - claimed::integer AS answered FROM updated, next) chat,
         closed_calls
    WHERE content IS NOT NULL
    RETURNING *
), entries AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, worker_id,
                             actor_owner_id, actor_token_id, data)
    SELECT updated.id, entry.*
    FROM updated, next, LATERAL (
        SELECT version - claimed::integer, :transition_name,
               CASE WHEN asking THEN updated.status ELSE 'pending' END,
               epoch - claimed::integer, NULL::uuid, :actor_owner_id, :actor_token_id::uuid,
               jsonb_strip_nulls(jsonb_build_object(
                   'messages', (SELECT jsonb_agg(id) FROM inserted),
                   'answered', (SELECT jsonb_agg(jsonb_build_object(
                                    'tool_call_id', tool_call_id, 'tool_name', tool_name,
                                    'decision', item->'decision'->'decision') ORDER BY n)
                                FROM judged WHERE verdict = 'new'),
                   'open', (SELECT jsonb_agg(tool_call_id ORDER BY position) FROM unanswered),
                   'deadline', updated.action_deadline))
        UNION ALL
        SELECT version, 'claim', 'running', epoch, worker_id, NULL, NULL, '{}' WHERE claimed
    ) entry
    RETURNING transition, version, created_at, data
), advanced AS MATERIALIZED (
    SELECT setval('chat_claimed_round', round) FROM updated
    WHERE status = 'running' AND :advance AND round > (SELECT last_value FROM chat_claimed_round)
), chat AS (
    SELECT * FROM updated
    UNION ALL
    SELECT * FROM locked WHERE NOT EXISTS (SELECT FROM updated)
), response AS (
    SELECT CASE decision.outcome WHEN 'unchanged' THEN 'done' ELSE decision.outcome END AS outcome,
           CASE decision.outcome WHEN 'tool_call_unknown' THEN problems.unknown
                                 WHEN 'answer_mismatch' THEN problems.mismatched
                                 WHEN 'already_answered' THEN problems.decided
                                 WHEN 'tool_results_missing' THEN problems.missing
           END AS tool_call_ids,
           CASE decision.outcome WHEN 'already_answered' THEN problems.decisions END AS decisions,
           chat_columns(chat),
           entry.version AS entry_version,
           entry.created_at AS entry_created_at, entry.data AS entry_data,
           claim.created_at AS claim_created_at, claim.data AS claim_data,
           locked.settled_part AS unclaimed_settled_part,
           locked.claim_traceparent AS unclaimed_traceparent,
           (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted) AS messages,
           (SELECT jsonb_agg(call ORDER BY call->'position') FROM (
                SELECT to_jsonb(readied) AS call FROM readied
                UNION ALL
                SELECT to_jsonb(t) FROM chat_tool_calls t, locked
                WHERE t.chat_id = locked.id AND t.completed_at IS NULL AND t.state = 'ready'
            ) ready) AS ledger,
           (SELECT count(*) FROM advanced) AS rounds_advanced
    FROM decision JOIN locked ON true JOIN problems ON true JOIN chat ON true
                  LEFT JOIN entries entry ON entry.transition = :transition_name
                  LEFT JOIN entries claim ON claim.transition = 'claim'
), saved_key AS (
    INSERT INTO idempotency_keys (owner_id, key, request_hash, chat_id, version, message_ids)
    SELECT :idempotency_owner, :idempotency_key, :request_hash, id, entry_version,
           (SELECT array_agg(id ORDER BY id) FROM inserted)
    FROM response WHERE :idempotency_key::text IS NOT NULL AND outcome = 'done'
)
SELECT * FROM response;

-- name: expire_action
-- Answer calls that nobody answered in time with errors, which `:words` has for the kinds of their
-- questions. A chat goes on asking while other calls are asked, and else becomes pending. A chat
-- that changed between the snapshot and the lock is left to the next run, because it may have other
-- open calls by now.
WITH overdue AS MATERIALIZED (
    SELECT id, version FROM chats
    WHERE status = 'requires_action' AND action_deadline < (SELECT clock_timestamp())
      AND id <> ALL(:excluded::uuid[]) AND (:only::uuid[] IS NULL OR id = ANY(:only))
    ORDER BY action_deadline LIMIT :limit
), locked AS MATERIALIZED (
    SELECT c.id, c.owner_id, c.action_deadline
    FROM chats c JOIN overdue o ON o.id = c.id AND o.version = c.version
    WHERE c.status = 'requires_action'
    ORDER BY c.owner_id FOR NO KEY UPDATE OF c SKIP LOCKED  -- chat_must_hold may lock the owner
), asked AS MATERIALIZED (
    SELECT t.chat_id, t.tool_call_id, t.tool_name, t.position, t.question->>'kind' AS kind,
           deadline, deadline <= GREATEST(locked.action_deadline, clock_timestamp()) AS is_over
    FROM locked JOIN chat_tool_calls t ON t.chat_id = locked.id, LATERAL (
        SELECT COALESCE(t.expires_at, locked.action_deadline) AS deadline) own
    WHERE t.completed_at IS NULL AND t.state = 'asked'
), closed_calls AS MATERIALIZED (
    SELECT locked.id, chat_close_calls(locked.id, (
               SELECT jsonb_agg(jsonb_build_object(
                   'tool_call_id', tool_call_id, 'result', :words::jsonb->kind, 'is_error', true,
                   'decision', '{"decision": "expired"}'::jsonb))
               FROM asked WHERE asked.chat_id = locked.id AND is_over), '{}') AS content
    FROM locked
), next AS MATERIALIZED (
    SELECT locked.id, deadline, deadline IS NOT NULL AS asking,
           deadline IS NULL AND chat_must_hold(locked.owner_id, :limits) AS held
    FROM locked, LATERAL (SELECT min(deadline) AS deadline FROM asked
                          WHERE asked.chat_id = locked.id AND NOT is_over) left_over
), updated AS (
    UPDATE chats c SET
        version = c.version + 1,
        updated_at = clock_timestamp(),
        status = CASE WHEN asking THEN c.status ELSE 'pending' END,
        pending_since = CASE WHEN NOT asking THEN clock_timestamp() END,
        round = CASE WHEN asking THEN c.round ELSE chat_front_round() END,
        held = next.held,
        action_deadline = next.deadline,
        stored_bytes = c.stored_bytes + COALESCE(pg_column_size(closed_calls.content), 0)
    FROM closed_calls JOIN next USING (id) WHERE c.id = closed_calls.id
    RETURNING c.*
), inserted AS (
    INSERT INTO chat_messages (chat_id, id, version, role, content)
    SELECT updated.id, chat_message_id(updated.version, 1), updated.version, 'tool', content
    FROM updated JOIN closed_calls ON closed_calls.id = updated.id
    WHERE content IS NOT NULL
    RETURNING *
), journal_entry AS (
    INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
    SELECT updated.id, updated.version, 'expire_action', updated.status, updated.epoch,
           jsonb_strip_nulls(jsonb_build_object(
               'messages', (SELECT jsonb_agg(id) FROM inserted
                            WHERE inserted.chat_id = updated.id),
               'answered', (SELECT jsonb_agg(jsonb_build_object(
                                'tool_call_id', tool_call_id, 'tool_name', tool_name,
                                'decision', 'expired') ORDER BY position)
                            FROM asked WHERE asked.chat_id = updated.id AND is_over),
               'open', (SELECT jsonb_agg(tool_call_id ORDER BY position)
                        FROM asked WHERE asked.chat_id = updated.id AND NOT is_over),
               'deadline', updated.action_deadline))
    FROM updated
    RETURNING chat_id, created_at, data
)
SELECT 'done' AS outcome, chat_columns(updated),
       journal_entry.created_at AS entry_created_at, journal_entry.data AS entry_data,
       (SELECT jsonb_agg(to_jsonb(inserted)) FROM inserted
        WHERE inserted.chat_id = updated.id) AS messages
FROM updated JOIN journal_entry ON journal_entry.chat_id = updated.id;

-- name: overdue_actions
-- Read the chats with calls that nobody answered in time, because a statement about all failed.
SELECT id FROM chats
WHERE status = 'requires_action' AND action_deadline < (SELECT clock_timestamp())
  AND id <> ALL(:excluded::uuid[])
ORDER BY action_deadline LIMIT :limit;

-- name: actions
-- Read the calls that a chat asks, with the arguments of each, in their order. Those of another
-- owner's chat are not found.
SELECT t.tool_call_id, t.tool_name, t.question, t.continuation IS NOT NULL AS is_of_tool,
       COALESCE(t.expires_at, c.action_deadline) AS expires_at,
       (SELECT part->>'args' FROM jsonb_array_elements(m.content) AS part
        WHERE part->>'type' = 'tool-call' AND part->>'tool_call_id' = t.tool_call_id
        LIMIT 1) AS args
FROM chats c
JOIN chat_tool_calls t ON t.chat_id = c.id AND t.completed_at IS NULL AND t.state = 'asked'
JOIN chat_messages m ON m.chat_id = t.chat_id AND m.id = t.message_id
WHERE c.id = :chat_id AND c.owner_id = :owner_id AND c.status = 'requires_action'
ORDER BY t.message_id, t.position;
