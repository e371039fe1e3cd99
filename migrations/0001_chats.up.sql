-- Initial schema: chats, messages, journal, preview parts, tool calls, workers, idempotency keys,
-- access tokens. The CHECK constraints of `chats` hold the table of statuses (which columns are set
-- with which status), so that not even psql can store a chat that no transition could produce.

-- The rules by which a search ignores case, whatever the locale of the database: the first of these
-- that the server has. Those of its own locale and of C may know the letters of ASCII only.
DO $$
DECLARE
    rules text;
BEGIN
    FOREACH rules IN ARRAY ARRAY[
        $rules$ provider = icu, locale = 'und' $rules$,
        $rules$ provider = builtin, locale = 'C.UTF-8' $rules$,   -- PostgreSQL 17
        $rules$ locale = 'C.UTF-8' $rules$,
        $rules$ locale = 'C.utf8' $rules$,
        $rules$ locale = 'en_US.utf8' $rules$,
        (SELECT format('locale = %L', datctype) FROM pg_database
         WHERE datname = current_database()),
        $rules$ locale = 'C' $rules$
    ] LOOP
        BEGIN
            EXECUTE format('CREATE COLLATION chat_case (%s)', rules);
            RETURN;
        EXCEPTION
            WHEN feature_not_supported OR invalid_object_definition OR invalid_parameter_value
            THEN CONTINUE;
        END;
    END LOOP;
END $$;

CREATE TABLE chat_model_configs (
    id             uuid PRIMARY KEY,                  -- derived from the name
    name           text NOT NULL UNIQUE CHECK (name <> ''),
    provider       text NOT NULL,
    model          text NOT NULL,                     -- the provider's name for it
    context_limit  integer CHECK (context_limit > 0), -- tokens
    settings       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The lease of each worker. It is over when `heartbeat_at` is older than worker.lease_seconds.
-- `lock_proved` says that the worker holds its advisory lock in a session of its own, not in one of
-- a transaction pooler, so that a free lock is evidence of its death. `draining` is an operator's
-- request: the worker claims no more chats.
CREATE TABLE workers (
    worker_id     uuid PRIMARY KEY,                   -- new at every process start
    host          text NOT NULL,
    pid           integer NOT NULL,
    version       text NOT NULL,
    max_chats     integer NOT NULL,
    models        uuid[] NOT NULL DEFAULT '{}',       -- of chat_model_configs: those it can call
    lock_proved   boolean NOT NULL DEFAULT false,
    draining      boolean NOT NULL DEFAULT false,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp()   -- no index: updates stay HOT
) WITH (fillfactor = 50);

-- `activity` is what the worker last reported of the chat's task: {"epoch", "stage", "started_at",
-- "deadline_at"}. No transition clears it. It is valid while its epoch is the chat's epoch.
-- `heartbeat_at` is when that task last made progress, as far as it was reported. It says nothing of
-- the lease, which is the worker's.
--
-- `lapsed_worker_id` is the last worker that lost the chat because its lease was over, and
-- `lapsed_step` is where that was. It may come back, so this is not yet a recovery.
--
-- `title_by` is 'caller' if a caller gave the title. Else it has the first words of the first message
-- ('words'), until a model writes a better one ('model').
--
-- A chat that expires is deleted once it is idle after `expires_at`, with those that it started,
-- which have the same. It is in no list and no search: its caller keeps the conversation elsewhere.
--
-- The two traceparents (W3C trace context) are set while tracing is on: that of the request whose
-- message is due for an answer, and that of the first claim for that answer.
CREATE TABLE chats (
    id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id              text NOT NULL CHECK (owner_id <> ''),
    parent_chat_id        uuid REFERENCES chats ON DELETE CASCADE,
    root_chat_id          uuid NOT NULL REFERENCES chats ON DELETE CASCADE,   -- a root: its own id
    title                 text NOT NULL DEFAULT '',
    title_by              text NOT NULL DEFAULT 'words'
                          CHECK (title_by IN ('words', 'model', 'caller')),
    status                text NOT NULL DEFAULT 'waiting',
    last_error            text,
    last_error_detail     jsonb,
    worker_id             uuid,                       -- the holder of the lease
    started_at            timestamptz,                -- when that worker claimed the chat
    activity              jsonb,                      -- in no index: updates stay HOT
    heartbeat_at          timestamptz,                -- the same; after activity, so that WAL is short
    pending_since         timestamptz,                -- since when, or from when, it may be claimed
    round                 bigint NOT NULL DEFAULT 0,  -- pending chats are claimed in this order
    action_deadline       timestamptz,                -- how long it waits for answers, or chats
    epoch                 bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    version               bigint NOT NULL DEFAULT 1 CHECK (version >= 1),
    committed_steps       bigint NOT NULL DEFAULT 0 CHECK (committed_steps >= 0),
    settled_part          bigint NOT NULL DEFAULT 0 CHECK (settled_part >= 0),
    recoveries            integer NOT NULL DEFAULT 0 CHECK (recoveries >= 0),
    lapsed_worker_id      uuid,
    lapsed_step           bigint,
    attempts              integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at       timestamptz,
    turn_deadline_at      timestamptz,                -- of a turn that was deferred
    queue_length          integer NOT NULL DEFAULT 0 CHECK (queue_length >= 0),
    archived              boolean NOT NULL DEFAULT false,
    held                  boolean NOT NULL DEFAULT false,   -- enough chats of this owner run
    labels                jsonb NOT NULL DEFAULT '{}',
    server_tools          jsonb,                      -- chosen ones: {"mcp": [names], "http": [names]}
    permissions           jsonb,                      -- of its tools: {"mode", "rules", "remembered"}
    pruned_through        bigint,                     -- the model is shown no old result up to here
    tools_version         bigint,                     -- the transition that replaced chat_tools
    compaction_request    jsonb,                      -- {"instructions", "idle_version", "is_done"}
    last_model_config_id  uuid NOT NULL REFERENCES chat_model_configs,
    request_traceparent   text,
    claim_traceparent     text,
    input_tokens          bigint NOT NULL DEFAULT 0,
    output_tokens         bigint NOT NULL DEFAULT 0,
    cache_read_tokens     bigint NOT NULL DEFAULT 0,
    cache_write_tokens    bigint NOT NULL DEFAULT 0,
    reasoning_tokens      bigint NOT NULL DEFAULT 0,
    stored_bytes          bigint NOT NULL DEFAULT 0 CHECK (stored_bytes >= 0),
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at            timestamptz,                -- never changed

    CONSTRAINT chats_status_known CHECK (
        status IN ('waiting', 'pending', 'running', 'interrupting', 'requires_action', 'parked',
                   'error')),
    CONSTRAINT chats_lease_columns CHECK (
        CASE WHEN status IN ('running', 'interrupting')
             THEN worker_id IS NOT NULL AND started_at IS NOT NULL AND heartbeat_at IS NOT NULL
                  AND epoch > 0
             ELSE worker_id IS NULL AND started_at IS NULL AND heartbeat_at IS NULL END),
    CONSTRAINT chats_error_has_reason CHECK (
        CASE WHEN status = 'error' THEN last_error IS NOT NULL AND last_error <> ''
             ELSE last_error IS NULL AND last_error_detail IS NULL END),
    CONSTRAINT chats_held_only_pending CHECK (NOT held OR status = 'pending'),
    CONSTRAINT chats_pending_since_set CHECK ((status = 'pending') = (pending_since IS NOT NULL)),
    CONSTRAINT chats_action_has_deadline CHECK (
        (status IN ('requires_action', 'parked')) = (action_deadline IS NOT NULL)),
    CONSTRAINT chats_archived_only_idle CHECK (NOT archived OR status IN ('waiting', 'error')),
    CONSTRAINT chats_waiting_without_queue CHECK (status <> 'waiting' OR queue_length = 0),
    CONSTRAINT chats_retry_only_in_turn CHECK (
        status IN ('pending', 'running', 'interrupting')
        OR (attempts = 0 AND next_attempt_at IS NULL AND turn_deadline_at IS NULL)),
    CONSTRAINT chats_recoveries_only_in_turn CHECK (
        status IN ('pending', 'running', 'interrupting') OR recoveries = 0),
    CONSTRAINT chats_root_is_itself CHECK (parent_chat_id IS NOT NULL OR root_chat_id = id),
    CONSTRAINT chats_not_its_parent CHECK (parent_chat_id <> id),
    CONSTRAINT chats_error_detail_object CHECK (jsonb_typeof(last_error_detail) = 'object'),
    CONSTRAINT chats_labels_object CHECK (jsonb_typeof(labels) = 'object'),
    CONSTRAINT chats_server_tools_object CHECK (jsonb_typeof(server_tools) = 'object'),
    CONSTRAINT chats_permissions_object CHECK (jsonb_typeof(permissions) = 'object'),
    CONSTRAINT chats_compaction_request_object CHECK (jsonb_typeof(compaction_request) = 'object')
) WITH (
    fillfactor = 70,                                  -- keeps heartbeats on the row's own page
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 1
);

-- The claim reads the pending chats of each of its models: in fair order, or the oldest first.
CREATE INDEX chats_line_idx ON chats (last_model_config_id, round, pending_since)
    WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL;
CREATE INDEX chats_oldest_idx ON chats (last_model_config_id, pending_since)
    WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL;
-- Pending chats that a worker had before: deferred ones are not due yet, and suspects are claimed
-- one at a time. They stand apart, so that a claim passes by neither in the line.
CREATE INDEX chats_returned_idx ON chats (last_model_config_id, recoveries, pending_since)
    WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL);
-- Pending chats beyond limits.max_running_per_owner, which no claim sees.
CREATE INDEX chats_held_idx ON chats (owner_id, round, pending_since) INCLUDE (parent_chat_id)
    WHERE held;
-- The few chats that are leased: those of one worker, and the workers that hold any.
CREATE INDEX chats_leased_idx ON chats (worker_id) WHERE worker_id IS NOT NULL;
-- The reaper looks every second for the chat whose client has the earliest deadline.
CREATE INDEX chats_action_deadline_idx ON chats (action_deadline) WHERE status = 'requires_action';
-- The few chats that wait for others: those whose wait is over, and a page of all of them.
CREATE INDEX chats_parked_idx ON chats (action_deadline, id) WHERE status = 'parked';
-- Counting an owner's active chats against its limit, and finding the last round of them. Chats that
-- others started stand apart, since they do not count.
CREATE INDEX chats_active_idx ON chats (owner_id, round)
    WHERE NOT held AND parent_chat_id IS NULL
          AND status IN ('pending', 'running', 'interrupting', 'requires_action', 'parked');
CREATE INDEX chats_active_children_idx ON chats (owner_id, round)
    WHERE NOT held AND parent_chat_id IS NOT NULL
          AND status IN ('pending', 'running', 'interrupting', 'requires_action', 'parked');
-- Counting failed chats, every few seconds.
CREATE INDEX chats_failed_idx ON chats (id) WHERE status = 'error';
-- An owner's list, most recently updated first. The columns that a list is filtered by are
-- included, so that a page is found without reading the rows that it skips.
CREATE INDEX chats_owner_updated_idx ON chats (owner_id, updated_at DESC, id DESC)
    INCLUDE (status, archived, parent_chat_id) WHERE expires_at IS NULL;
-- The few chats that expire, for the janitor.
CREATE INDEX chats_expires_idx ON chats (expires_at)
    WHERE expires_at IS NOT NULL AND parent_chat_id IS NULL;
CREATE INDEX chats_parent_updated_idx ON chats (parent_chat_id, updated_at DESC, id DESC)
    WHERE parent_chat_id IS NOT NULL;
CREATE INDEX chats_root_idx ON chats (root_chat_id);
-- Adding up what an owner has stored. A small chat is not in it, so the index has at most as many
-- entries of an owner as the limit has times 64 KiB.
CREATE INDEX chats_large_idx ON chats (owner_id) INCLUDE (stored_bytes) WHERE stored_bytes >= 65536;

-- Up to `sample` chats of each active status, each read through the index of that status, with the
-- moment since when they are in it. For operators, whatever the number of chats is.
CREATE FUNCTION chat_active_sample(sample integer)
RETURNS TABLE (id uuid, owner_id text, status text, since timestamptz, held boolean)
LANGUAGE sql STABLE AS $$
    (SELECT id, owner_id, status, pending_since, held FROM chats
     WHERE status = 'pending' AND NOT held AND recoveries = 0 AND next_attempt_at IS NULL
     LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, pending_since, held FROM chats
     WHERE status = 'pending' AND NOT held AND (recoveries > 0 OR next_attempt_at IS NOT NULL)
     LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, pending_since, held FROM chats WHERE held LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, started_at, held FROM chats
     WHERE worker_id IS NOT NULL LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, updated_at, held FROM chats
     WHERE status = 'requires_action' ORDER BY action_deadline LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, updated_at, held FROM chats
     WHERE status = 'parked' ORDER BY action_deadline LIMIT sample)
    UNION ALL
    (SELECT id, owner_id, status, updated_at, held FROM chats WHERE status = 'error' LIMIT sample)
$$;

-- The tools of a chat that its client runs. Only the worker reads them, once per claim. In a row of
-- their own they are neither written again with each transition nor read with the chat. A chat
-- that never had tools has no row.
CREATE TABLE chat_tools (
    chat_id  uuid PRIMARY KEY REFERENCES chats ON DELETE CASCADE,
    tools    jsonb NOT NULL CHECK (jsonb_typeof(tools) = 'array')
);

-- What a journal entry says of a chat whose title, labels or archived flag has changed.
CREATE FUNCTION chat_description(title text, labels jsonb, archived boolean) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('title', title, 'labels', labels, 'archived', archived)
$$;

-- The highest round that was claimed while chats were left in the line. It is a sequence because a
-- sequence has no row versions: a long snapshot would make every reader pass by all of them.
CREATE SEQUENCE chat_claimed_round;

-- The round of a chat that comes back, which is ahead of every new one.
CREATE FUNCTION chat_front_round() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT last_value FROM chat_claimed_round
$$;

-- The round of a chat that becomes pending by an act of its owner: the one after all other rounds of
-- this owner that are still to come. So each owner with pending chats has one in each round.
CREATE FUNCTION chat_next_round(owner text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT GREATEST((SELECT last_value FROM chat_claimed_round),
                    (SELECT round FROM chats
                     WHERE owner_id = owner AND NOT held AND parent_chat_id IS NULL
                       AND status IN ('pending', 'running', 'interrupting', 'requires_action',
                                      'parked')
                       AND round > (SELECT last_value FROM chat_claimed_round)
                     ORDER BY round DESC LIMIT 1),
                    (SELECT round FROM chats
                     WHERE owner_id = owner AND NOT held AND parent_chat_id IS NOT NULL
                       AND status IN ('pending', 'running', 'interrupting', 'requires_action',
                                      'parked')
                       AND round > (SELECT last_value FROM chat_claimed_round)
                     ORDER BY round DESC LIMIT 1),
                    (SELECT round FROM chats
                     WHERE owner_id = owner AND held
                       AND round > (SELECT last_value FROM chat_claimed_round)
                     ORDER BY round DESC LIMIT 1)) + 1
$$;

-- The number of an owner's active chats, counted up to the limit. Chats that others started are
-- left out, or a limit of one would leave a chat no agents. Each family has its own limits.
CREATE FUNCTION chat_active_count(owner text, max_active integer) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM (
        SELECT FROM chats
        WHERE owner_id = owner AND NOT held AND parent_chat_id IS NULL
          AND status IN ('pending', 'running', 'interrupting', 'requires_action', 'parked')
        UNION ALL
        SELECT FROM chats WHERE owner_id = owner AND held AND parent_chat_id IS NULL
        LIMIT max_active
    ) active
$$;

-- The same, one statement of the owner at a time. The count comes after the lock, in a statement of
-- its own, so its snapshot includes what the previous holder of the lock has committed.
CREATE FUNCTION chat_active_count_serialized(owner text, max_active integer) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('active chats: ' || owner, 1));
    SELECT chat_active_count(owner, max_active)
$$;

-- The reason why an owner may not have one more active chat, or null when it may. `limits` is an
-- object with "max_active_chats". A limit that is missing does not apply, and null has no limits.
--
-- The answer is exact as long as an owner has at most 64 statements under way at the same moment.
-- An owner that is further than that from its limit takes no lock.
CREATE FUNCTION chat_owner_refusal(owner text, limits jsonb) RETURNS text
LANGUAGE sql VOLATILE STRICT AS $$
    SELECT 'too_many_active_chats'
    FROM (SELECT (limits->>'max_active_chats')::integer AS max_active) applied,
         chat_active_count(owner, max_active) AS active
    WHERE max_active IS NOT NULL
      AND CASE WHEN active < max_active - 64 THEN false
               WHEN active >= max_active THEN true
               ELSE chat_active_count_serialized(owner, max_active) >= max_active END
$$;

-- The id of the n-th message that a transition of a chat stores. Ids rise within a chat, and say
-- nothing about any other chat. A transition stores fewer than a million messages.
CREATE FUNCTION chat_message_id(version bigint, n bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT version * 1000000 + n
$$;

-- The bytes of an owner's large chats.
CREATE FUNCTION chat_owner_bytes(owner text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT COALESCE(sum(stored_bytes), 0)::bigint FROM chats
    WHERE owner_id = owner AND stored_bytes >= 65536
$$;

-- The reason why a chat that has `stored` bytes may not store `added` more, or null when it may.
-- `limits` is an object with "max_chat_bytes" and "max_owner_bytes", as in chat_owner_refusal.
--
-- The sum of an owner is compared for large additions only. So a text is as cheap as before, and an
-- owner who has no space left can still talk.
CREATE FUNCTION chat_bytes_refusal(owner text, limits jsonb, stored bigint, added bigint)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN stored + added > (limits->>'max_chat_bytes')::bigint THEN 'chat_full'
        WHEN added >= 65536 AND limits ? 'max_owner_bytes'
             AND chat_owner_bytes(owner) + added > (limits->>'max_owner_bytes')::bigint
        THEN 'storage_full'
    END
$$;

-- Files of messages, which refer to them by id. An id is a hash of all columns of the file, so a
-- file never changes, and a chat has the same one once. The bytes are rarely worth compressing, and
-- uncompressed a part of them can be read without the rest.
CREATE TABLE chat_files (
    chat_id     uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    id          uuid NOT NULL,
    media_type  text NOT NULL,
    name        text,
    size        integer NOT NULL,
    data        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, id)
);
ALTER TABLE chat_files ALTER COLUMN data SET STORAGE EXTERNAL;

-- The bytes of those of these files that the chat does not have yet. A new chat is null.
CREATE FUNCTION chat_new_file_bytes(chat uuid, ids uuid[], contents bytea[]) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF cardinality(ids) = 0 THEN
        RETURN 0;  -- most transitions
    END IF;
    RETURN (SELECT COALESCE(sum(length(f.data)), 0) FROM unnest(ids, contents) AS f (id, data)
            WHERE NOT EXISTS (SELECT FROM chat_files e WHERE e.chat_id = chat AND e.id = f.id));
END $$;

-- The number of an owner's chats that run or may be claimed, counted up to the limit.
CREATE FUNCTION chat_running_count(owner text, max_running integer) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM (
        SELECT FROM chats
        WHERE owner_id = owner AND NOT held AND parent_chat_id IS NULL
          AND status NOT IN ('requires_action', 'parked')
          AND status IN ('pending', 'running', 'interrupting', 'requires_action', 'parked')
        UNION ALL
        SELECT FROM chats
        WHERE owner_id = owner AND NOT held AND parent_chat_id IS NOT NULL
          AND status NOT IN ('requires_action', 'parked')
          AND status IN ('pending', 'running', 'interrupting', 'requires_action', 'parked')
        LIMIT max_running
    ) running
$$;

-- The same, one statement of the owner at a time (chat_active_count_serialized).
CREATE FUNCTION chat_running_count_serialized(owner text, max_running integer) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('running chats: ' || owner, 1));
    SELECT chat_running_count(owner, max_running)
$$;

-- Whether one more pending chat of an owner is to be held. `limits` is an object, perhaps with
-- "max_running_per_owner". As exact, and as rarely locked, as chat_owner_refusal.
CREATE FUNCTION chat_must_hold(owner text, limits jsonb) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE((
        SELECT CASE WHEN running < max_running - 64 THEN false
                    WHEN running >= max_running THEN true
                    ELSE chat_running_count_serialized(owner, max_running) >= max_running END
        FROM (SELECT (limits->>'max_running_per_owner')::integer AS max_running) applied,
             chat_running_count(owner, max_running) AS running
        WHERE max_running IS NOT NULL), false)
$$;

-- Whether an owner may certainly start so many turns more, without a lock on it: both limits of
-- chat_owner_refusal and chat_must_hold are further away than these.
CREATE FUNCTION chat_is_far_from_limits(owner text, limits jsonb, turns bigint) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN max_active IS NULL THEN true
                ELSE chat_active_count(owner, max_active) < max_active - turns END
       AND CASE WHEN max_running IS NULL THEN true
                ELSE chat_running_count(owner, max_running) < max_running - turns END
    FROM (SELECT (limits->>'max_active_chats')::integer AS max_active,
                 (limits->>'max_running_per_owner')::integer AS max_running) applied
$$;

-- Admit the first held chat of an owner to the line, if fewer run than may, and return it. A
-- deferred chat is not admitted before it is due. A chat that another statement admits is passed
-- by, so no two turns that end wait for each other. So is a chat whose row refuses the update: no
-- turn of another chat may fail for it. It is returned without a version. Not more than three are
-- tried, since each is a subtransaction.
CREATE FUNCTION chat_admit(owner text, limits jsonb) RETURNS TABLE (id uuid, version bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    refused uuid[] := '{}';
    candidate uuid;
BEGIN
    WHILE cardinality(refused) < 3 LOOP
        SELECT h.id INTO candidate FROM chats h
        WHERE h.owner_id = owner AND h.held AND h.pending_since <= clock_timestamp()
          AND h.id <> ALL(refused)
          AND COALESCE(chat_running_count(owner, (limits->>'max_running_per_owner')::integer)
                       < (limits->>'max_running_per_owner')::integer, true)
        ORDER BY h.round, h.pending_since LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        BEGIN
            RETURN QUERY
                UPDATE chats SET held = false, round = GREATEST(chats.round, chat_front_round())
                WHERE chats.id = candidate RETURNING chats.id, chats.version;
            EXIT;
        EXCEPTION
            WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded
                 OR plpgsql_error THEN
                RAISE WARNING 'chat % cannot be admitted: %', candidate, SQLERRM;
                refused := refused || candidate;
        END;
    END LOOP;
    RETURN QUERY SELECT each, NULL::bigint FROM unnest(refused) AS each;
END
$$;

-- The same for the sweep, of which each process runs one.
CREATE FUNCTION chat_admit_serialized(owner text, limits jsonb)
RETURNS TABLE (id uuid, version bigint) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF pg_try_advisory_xact_lock(hashtextextended('running chats: ' || owner, 1)) THEN
        RETURN QUERY SELECT * FROM chat_admit(owner, limits);
    END IF;
END
$$;

-- A summary stands in the history for every message up to `covers_until`, but for the system prompt.
-- They are compacted: people read them, and the model reads the summary instead. No row of them says
-- so. It follows from the latest summary that is not superseded, so that a summary that an edit
-- supersedes brings back what it covered.
CREATE TABLE chat_messages (
    chat_id             uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    id                  bigint NOT NULL,              -- of chat_message_id
    version             bigint NOT NULL,              -- the transition that stored it
    role                text NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    content             jsonb NOT NULL CHECK (jsonb_typeof(content) = 'array'),
    page_bytes          integer NOT NULL              -- what it counts in a page of messages
                        GENERATED ALWAYS AS (octet_length(content::text) + 500) STORED,
    visibility          text NOT NULL DEFAULT 'both'
                        CHECK (visibility IN ('both', 'user', 'model')),
    covers_until        bigint,                       -- of a summary: the last message it covers
    superseded_version  bigint,                       -- the transition that hid it, or null
    model_config_id     uuid REFERENCES chat_model_configs,
    finish_reason       text,
    input_tokens        integer,
    output_tokens       integer,
    cache_read_tokens   integer,
    cache_write_tokens  integer,
    reasoning_tokens    integer,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, id),
    CONSTRAINT chat_messages_id_of_version CHECK (
        id >= chat_message_id(version, 1) AND id < chat_message_id(version + 1, 0)),
    CONSTRAINT chat_messages_summary_for_model CHECK (
        covers_until IS NULL OR (role = 'user' AND visibility = 'model' AND covers_until < id))
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
-- The few summaries. Other messages cost this index nothing.
CREATE INDEX chat_messages_summary_idx ON chat_messages (chat_id, covers_until)
    WHERE covers_until IS NOT NULL;
-- System prompts and later instructions, which no summary covers.
CREATE INDEX chat_messages_system_idx ON chat_messages (chat_id, id) WHERE role = 'system';
-- The messages that a client knows by an id of its own. Neither do others cost this one anything.
CREATE INDEX chat_messages_client_key_idx ON chat_messages (chat_id, (content->0->>'client'), id)
    WHERE (content->0->>'client') IS NOT NULL;

-- Summaries that are not superseded. The one that covers most stands in the history. `covers_until`
-- of it is the last message that is compacted.
CREATE VIEW chat_summaries AS
    SELECT chat_id, id, covers_until FROM chat_messages
    WHERE covers_until IS NOT NULL AND superseded_version IS NULL;

-- Rows for chat_messages, in order, from a jsonb array of new messages.
CREATE FUNCTION chat_message_rows(messages jsonb) RETURNS TABLE (
    n bigint, role text, content jsonb, visibility text, model_config_id uuid, finish_reason text,
    input_tokens integer, output_tokens integer, cache_read_tokens integer,
    cache_write_tokens integer, reasoning_tokens integer
) LANGUAGE sql IMMUTABLE AS $$
    SELECT m.n, m.message->>'role', m.message->'content',
           COALESCE(m.message->>'visibility', 'both'),
           (m.message->>'model_config_id')::uuid, m.message->>'finish_reason',
           (m.message->'usage'->>'input_tokens')::integer,
           (m.message->'usage'->>'output_tokens')::integer,
           (m.message->'usage'->>'cache_read_tokens')::integer,
           (m.message->'usage'->>'cache_write_tokens')::integer,
           (m.message->'usage'->>'reasoning_tokens')::integer
    FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (message, n)
$$;

-- The tokens that the same array adds to the chat.
CREATE FUNCTION chat_messages_usage(messages jsonb) RETURNS TABLE (
    input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,
    cache_write_tokens bigint, reasoning_tokens bigint
) LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(sum(m.input_tokens), 0), COALESCE(sum(m.output_tokens), 0),
           COALESCE(sum(m.cache_read_tokens), 0), COALESCE(sum(m.cache_write_tokens), 0),
           COALESCE(sum(m.reasoning_tokens), 0)
    FROM chat_message_rows(messages) m
$$;

CREATE TABLE chat_queued_messages (
    chat_id              uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    id                   bigint NOT NULL,             -- the version of the transition that queued it
    position             bigint NOT NULL,             -- lowest first; ties are ordered by id
    content              jsonb NOT NULL CHECK (jsonb_typeof(content) = 'array'),
    page_bytes           integer NOT NULL             -- what it counts in a page of the queue
                         GENERATED ALWAYS AS (octet_length(content::text) + 500) STORED,
    model_config_id      uuid NOT NULL REFERENCES chat_model_configs,
    request_traceparent  text,                        -- becomes the chat's when it is dequeued
    bytes                integer NOT NULL DEFAULT 0,  -- part of the chat's `stored_bytes`
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- The journal: one row for each transition, in the order of `version` and without a gap. Streams
-- are made of it.
CREATE TABLE chat_events (
    chat_id         uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    transition      text NOT NULL,
    status          text NOT NULL,
    epoch           bigint NOT NULL,
    worker_id       uuid,
    actor_owner_id  text,                             -- who acted for the owner, or null
    actor_token_id  uuid,                             -- the token of a caller's request
    data            jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
    PRIMARY KEY (chat_id, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- What a running step has streamed so far, in batches: for subscribers on other replicas, and for
-- the reaper. A server crash may lose it; the step is then run again.
CREATE UNLOGGED TABLE chat_parts (
    chat_id     uuid NOT NULL,                        -- a foreign key would lock the chat's row
    epoch       bigint NOT NULL,
    first_part  bigint NOT NULL,                      -- numbers of the first and last of `parts`
    last_part   bigint NOT NULL CHECK (last_part >= first_part),
    parts       jsonb NOT NULL CHECK (jsonb_array_length(parts) = last_part - first_part + 1),
    page_bytes  integer NOT NULL                      -- what they count in one read
                GENERATED ALWAYS AS (octet_length(parts::text)) STORED,
    PRIMARY KEY (chat_id, epoch, last_part)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- The ledger of tool calls. A row is stored with the message that makes the call, before the call
-- starts, so that a crash in between differs from a call that never started. Models repeat call ids
-- in later messages; within one message an id names one call.
--
-- 'asked': a person or the client is to answer its `question`. 'ready': it may start. 'started': it
-- runs, or did when its worker died. 'parked': it waits for other chats, and so does its chat.
-- 'closed': `answer` is its result, a part of the message that answers all calls together. Rows of
-- at most one message are open (not closed), and none while the chat is idle.
--
-- A question has a kind: 'approval' (may the server run this?), 'result' (the client runs it) or
-- 'input' (a tool asks a person). `decision` is the answer to it, with the arguments that a person
-- gave in place of the model's. An answer is compared with it when it comes again. A call that was
-- started becomes asked if its tool needs input. It becomes ready with the answer, and then starts
-- once more, with `continuation`.
CREATE TABLE chat_tool_calls (
    chat_id       uuid NOT NULL,
    tool_call_id  text NOT NULL,
    message_id    bigint NOT NULL,                    -- the assistant's message that made the call
    position      integer NOT NULL DEFAULT 0,         -- of the call among those of its message
    tool_name     text NOT NULL,
    executor      text NOT NULL CHECK (executor IN ('server', 'client')),
    policy        text NOT NULL DEFAULT 'at_most_once'
                  CHECK (policy IN ('at_most_once', 'idempotent', 'reattach')),
    state         text NOT NULL CHECK (state IN ('asked', 'ready', 'started', 'parked', 'closed')),
    tries         integer NOT NULL DEFAULT 0 CHECK (tries >= 0),   -- how often it was started
    epoch         bigint NOT NULL,                    -- of the worker that opened or started it
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),   -- or since when it waits
    completed_at  timestamptz,
    is_error      boolean,
    answer        jsonb,
    question      jsonb CHECK (question->>'kind' IN ('approval', 'result', 'input')),
    expires_at    timestamptz,                        -- how long the question may be answered
    decision      jsonb,
    waits_for     uuid[],                             -- chats of the same family
    wait_for_all  boolean,                            -- until all of them are idle, or one is
    wake_at       timestamptz,                        -- how long it waits
    earlier_decisions  jsonb NOT NULL DEFAULT '[]'    -- {"kind", "decision"} of earlier questions
                  CHECK (jsonb_array_length(earlier_decisions) < 10),
    continuation  bytea,                              -- for its tool alone, which asked for input
    PRIMARY KEY (chat_id, message_id, tool_call_id),
    FOREIGN KEY (chat_id, message_id) REFERENCES chat_messages ON DELETE CASCADE,

    CONSTRAINT chat_tool_calls_closed_with_answer CHECK (
        CASE WHEN state = 'closed'
             THEN completed_at IS NOT NULL AND is_error IS NOT NULL AND answer IS NOT NULL
             ELSE completed_at IS NULL AND is_error IS NULL AND answer IS NULL END),
    CONSTRAINT chat_tool_calls_started_once CHECK (
        tries <= CASE policy WHEN 'idempotent' THEN 3 ELSE 1 END),
    CONSTRAINT chat_tool_calls_tries_of_state CHECK (
        CASE state WHEN 'started' THEN tries > 0 AND executor = 'server'
                   WHEN 'closed' THEN true
                   ELSE tries = 0 END),
    CONSTRAINT chat_tool_calls_asked_question CHECK (
        question IS NOT NULL OR (state <> 'asked' AND decision IS NULL)),
    CONSTRAINT chat_tool_calls_parked_wait CHECK (
        state <> 'parked' OR (executor = 'server' AND waits_for IS NOT NULL
                              AND wait_for_all IS NOT NULL AND wake_at IS NOT NULL)),
    CONSTRAINT chat_tool_calls_continuation_open CHECK (
        continuation IS NULL OR (state <> 'closed' AND question IS NOT NULL))
);
CREATE INDEX chat_tool_calls_open_idx ON chat_tool_calls (chat_id, message_id) WHERE completed_at IS NULL;
-- Finding the call that an answer is about, and an earlier answer to it.
CREATE INDEX chat_tool_calls_question_idx ON chat_tool_calls (chat_id, tool_call_id, message_id)
    WHERE question IS NOT NULL;

-- Outputs of which a result has the head and the tail: the first bytes, up to tools.keep_bytes, so
-- that the model can read what was left out. The janitor deletes them after tools.keep_days.
CREATE TABLE chat_tool_outputs (
    chat_id       uuid NOT NULL,
    message_id    bigint NOT NULL,
    tool_call_id  text NOT NULL,
    total_bytes   bigint NOT NULL,
    body          bytea NOT NULL,                     -- part of the chat's `stored_bytes`
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, tool_call_id, message_id),
    FOREIGN KEY (chat_id, message_id, tool_call_id) REFERENCES chat_tool_calls ON DELETE CASCADE
);
ALTER TABLE chat_tool_outputs ALTER COLUMN body SET STORAGE EXTERNAL;   -- as of chat_files

-- The bytes of outputs that `results` have of calls of a chat that are open.
CREATE FUNCTION chat_new_output_bytes(chat uuid, results jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT jsonb_path_exists(results, '$[*].output') THEN
        RETURN 0;
    END IF;
    RETURN (SELECT COALESCE(sum(octet_length(item->>'output')), 0)
            FROM jsonb_array_elements(results) AS given (item)
            JOIN chat_tool_calls t ON t.chat_id = chat AND t.completed_at IS NULL
                 AND t.tool_call_id = item->>'tool_call_id');
END $$;

-- The result of a tool call as a part of a message.
CREATE FUNCTION chat_tool_result(
    tool_call_id text, tool_name text, result jsonb, is_error boolean
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('type', 'tool-result', 'tool_call_id', tool_call_id,
                              'tool_name', tool_name, 'result', result, 'is_error', is_error)
$$;

-- Rows for chat_tool_calls, in order, from a jsonb array of new calls. A call without a message_id
-- belongs to a message that is stored by the same statement.
CREATE FUNCTION chat_tool_call_rows(calls jsonb) RETURNS TABLE (
    n bigint, message_id bigint, tool_call_id text, tool_name text, executor text, policy text,
    state text, tries integer, completed_at timestamptz, is_error boolean, answer jsonb,
    question jsonb
) LANGUAGE sql VOLATILE AS $$
    SELECT n, (call->>'message_id')::bigint, call->>'tool_call_id', call->>'tool_name',
           call->>'executor', call->>'policy', call->>'state',
           (call->>'state' = 'started')::integer,
           CASE WHEN call->>'state' = 'closed' THEN clock_timestamp() END,
           CASE WHEN call->>'state' = 'closed' THEN true END,
           CASE WHEN call->>'state' = 'closed'
                THEN chat_tool_result(call->>'tool_call_id', call->>'tool_name',
                                      call->'error', true) END,
           NULLIF(call->'question', 'null')
    FROM jsonb_array_elements(calls) WITH ORDINALITY AS input (call, n)
$$;

-- The state of an open call as `words` of chat_close_calls have it.
CREATE FUNCTION chat_tool_call_word(call chat_tool_calls) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN call.continuation IS NOT NULL THEN 'other'
                WHEN call.state = 'asked' AND call.executor = 'server' THEN 'ready'
                ELSE call.state END
$$;

-- Close open calls of a chat, and return the content of the message that answers all calls of their
-- message, in their order, or null when there is none to store: a call is still open, or none was.
--
-- `results` are objects of tool_call_id, result, is_error, and of the decision if it was asked. If the
-- result is the head and the tail of an output, output_bytes is its length, and output as much of it
-- as is kept. `files` refer to the images of the result. Every other open call gets the error that
-- `words` has for its state, or for 'other' states. A call of the server that is asked counts as
-- 'ready', and as an 'other' one if its tool asked for input, since it was started then. Without
-- either word it stays open. Results that were stored before are kept.
CREATE FUNCTION chat_close_calls(chat uuid, results jsonb, words jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    messages bigint[];
BEGIN
    SELECT array_agg(DISTINCT t.message_id) INTO messages FROM chat_tool_calls t
    WHERE t.chat_id = chat AND t.completed_at IS NULL;
    IF messages IS NULL THEN
        RETURN NULL;
    END IF;
    WITH closed AS (
        UPDATE chat_tool_calls t SET
            state = 'closed',
            completed_at = clock_timestamp(),
            is_error = given.is_error,
            answer = chat_tool_result(t.tool_call_id, t.tool_name, given.result, given.is_error)
                || jsonb_strip_nulls(jsonb_build_object('output_bytes', given.output_bytes))
                || CASE WHEN given.files IS NULL THEN '{}'
                        ELSE jsonb_build_object('files', given.files) END,
            decision = COALESCE(given.decision, t.decision),
            continuation = NULL
        FROM (
            SELECT item->>'tool_call_id' AS tool_call_id, item->'result' AS result,
                   (item->'is_error')::boolean AS is_error, item->'output_bytes' AS output_bytes,
                   item->>'output' AS output, item->'files' AS files, item->'decision' AS decision
            FROM jsonb_array_elements(results) AS given (item)
        ) given
        WHERE t.chat_id = chat AND t.completed_at IS NULL AND t.tool_call_id = given.tool_call_id
        RETURNING t.message_id, t.tool_call_id, given.output_bytes, given.output
    )
    INSERT INTO chat_tool_outputs (chat_id, message_id, tool_call_id, total_bytes, body)
    SELECT chat, message_id, tool_call_id, output_bytes::bigint, convert_to(output, 'UTF8')
    FROM closed WHERE output IS NOT NULL;
    UPDATE chat_tool_calls t SET
        state = 'closed',
        completed_at = clock_timestamp(),
        is_error = true,
        answer = chat_tool_result(t.tool_call_id, t.tool_name,
                                  COALESCE(words->chat_tool_call_word(t), words->'other'), true),
        continuation = NULL
    WHERE t.chat_id = chat AND t.completed_at IS NULL
      AND words ?| ARRAY[chat_tool_call_word(t), 'other'];
    IF EXISTS (SELECT FROM chat_tool_calls t
               WHERE t.chat_id = chat AND t.completed_at IS NULL) THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT jsonb_agg(t.answer ORDER BY t.message_id, t.position) FROM chat_tool_calls t
            WHERE t.chat_id = chat AND t.message_id = ANY(messages));
END
$$;

-- The descendants of a chat, by a snapshot of its own: those that others have committed so far.
CREATE FUNCTION chat_descendants(chat uuid) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
    WITH RECURSIVE tree AS (
        SELECT id FROM chats WHERE parent_chat_id = chat
        UNION
        SELECT c.id FROM chats c JOIN tree ON c.parent_chat_id = tree.id
    )
    SELECT id FROM tree
$$;

-- The reason why the worker of a chat may not act on another one, or null when it may: it holds the
-- lease, and the other is a descendant. The answer is of a snapshot of its own. So a statement that
-- holds the lock of the other chat sees a stop of the family that was committed before.
CREATE FUNCTION chat_agent_refusal(caller uuid, worker uuid, caller_epoch bigint, agent uuid)
RETURNS text LANGUAGE sql VOLATILE AS $$
    WITH RECURSIVE ancestors AS (
        SELECT parent_chat_id AS id FROM chats WHERE id = agent
        UNION
        SELECT c.parent_chat_id FROM chats c JOIN ancestors ON c.id = ancestors.id
    )
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM chats WHERE id = caller AND worker_id = worker
                           AND epoch = caller_epoch AND status = 'running') THEN 'lease_lost'
        WHEN NOT EXISTS (SELECT FROM ancestors WHERE id = caller) THEN 'chat_not_found'
    END
$$;

-- The reason why a chat may not start one more, or null when it may. `limits` is an object of
-- "max_depth", "max_children" and "max_family". One statement of the family at a time counts, and
-- it counts after the lock.
CREATE FUNCTION chat_spawn_refusal(parent uuid, root uuid, limits jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    max_depth integer := limits->>'max_depth';
    max_children integer := limits->>'max_children';
    max_family integer := limits->>'max_family';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('family: ' || root, 1));
    RETURN CASE
        WHEN max_depth <= (
            WITH RECURSIVE ancestors AS (
                SELECT parent_chat_id AS id, 1 AS distance FROM chats WHERE id = parent
                UNION ALL
                SELECT c.parent_chat_id, distance + 1
                FROM chats c JOIN ancestors ON c.id = ancestors.id
                WHERE distance < max_depth
            )
            SELECT count(id) FROM ancestors) THEN 'too_deep'
        WHEN max_children <= (
            SELECT count(*) FROM (SELECT FROM chats WHERE parent_chat_id = parent
                                  LIMIT max_children) children) THEN 'too_many_children'
        WHEN max_family <= (
            SELECT count(*) FROM (SELECT FROM chats WHERE root_chat_id = root
                                  LIMIT max_family) family) THEN 'family_too_large'
    END;
END $$;

-- Whether a call has waited long enough for these chats of a family. One that was deleted is idle.
CREATE FUNCTION chat_wait_is_over(waits_for uuid[], wait_for_all boolean, root uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT COALESCE(CASE WHEN wait_for_all THEN bool_and(idle) ELSE bool_or(idle) END, true)
    FROM (
        SELECT COALESCE(c.status IN ('waiting', 'error'), true) AS idle
        FROM unnest(waits_for) AS each (id)
        LEFT JOIN chats c ON c.id = each.id AND c.root_chat_id = root
    ) chats
$$;

-- What a chat learns of another one of its family: its state in the word that `words` has for its
-- status (or for 'deleted'), and once it is idle its last answer, up to so many characters, or why
-- it failed.
CREATE FUNCTION chat_agent_result(agent uuid, root uuid, max_characters integer, words jsonb)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT COALESCE((
        SELECT jsonb_strip_nulls(jsonb_build_object(
            'id', c.id,
            'name', NULLIF(c.title, ''),
            'state', COALESCE(words->>c.status, c.status),
            'error', left(c.last_error, max_characters),
            'answer', left(said.text, max_characters),
            'answer_characters',
                CASE WHEN length(said.text) > max_characters THEN length(said.text) END,
            'input_tokens', c.input_tokens,
            'output_tokens', c.output_tokens))
        FROM chats c LEFT JOIN LATERAL (
            SELECT (SELECT string_agg(part->>'text', E'\n' ORDER BY n)
                    FROM jsonb_array_elements(m.content) WITH ORDINALITY AS parts (part, n)
                    WHERE part->>'type' = 'text') AS text
            FROM chat_messages m
            WHERE m.chat_id = c.id AND m.role = 'assistant' AND m.superseded_version IS NULL
              AND m.visibility IN ('both', 'user')
            ORDER BY m.id DESC LIMIT 1
        ) said ON c.status IN ('waiting', 'error')
        WHERE c.id = agent AND c.root_chat_id = root
    ), jsonb_build_object('id', agent, 'state', words->>'deleted'))
$$;

-- The text of a message that people search: its first 50,000 characters.
CREATE FUNCTION chat_message_text(content jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(COALESCE(string_agg(part->>'text', E'\n' ORDER BY n), ''), 50000)
    FROM jsonb_array_elements(content) WITH ORDINALITY AS parts (part, n)
    WHERE part->>'type' = 'text'
$$;

-- A word that all messages of an owner have, and no text: no word of a text has a blank in it.
CREATE FUNCTION chat_owner_word(owner text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'owner ' || md5(owner)
$$;

-- The words of the messages of users and assistants, with that of the owner, so that one search of
-- the index finds both. The search indexer fills it some seconds after the transitions. Rows of
-- messages that were hidden since stay until the janitor deletes them, so a search looks again.
-- All of it can be made anew: a server crash may lose it. A foreign key would lock the chats' rows.
CREATE UNLOGGED TABLE chat_message_words (
    chat_id     uuid NOT NULL,
    message_id  bigint NOT NULL,
    words       tsvector NOT NULL,
    PRIMARY KEY (chat_id, message_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX chat_message_words_idx ON chat_message_words USING gin (words);

-- The last message id of each chat that the search indexer has looked at.
CREATE UNLOGGED TABLE chat_search_positions (
    chat_id     uuid PRIMARY KEY,
    message_id  bigint NOT NULL
) WITH (fillfactor = 70);

-- Deleted chats, for list subscribers that were not connected at the time, and so that no late
-- request creates a chat anew whose id its caller chose. Chats that expire were in no list.
CREATE TABLE chat_tombstones (
    owner_id    text NOT NULL,
    chat_id     uuid NOT NULL,
    listed      boolean NOT NULL DEFAULT true,
    deleted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner_id, deleted_at, chat_id)
);
CREATE INDEX chat_tombstones_chat_idx ON chat_tombstones (chat_id);

CREATE TABLE api_tokens (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id      text NOT NULL CHECK (owner_id <> ''),
    name          text NOT NULL DEFAULT '',           -- what the token is for
    hash          bytea NOT NULL UNIQUE,
    scopes        text[] NOT NULL DEFAULT '{chats}',  -- an unknown one permits nothing
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);

-- The requests that were made with an idempotency key, and the rows that each response was made of. A
-- repeat is answered from these rows as they are then, so no content is kept here. The keys of a
-- deleted chat stay, so that no request is executed twice.
CREATE TABLE idempotency_keys (
    owner_id      text NOT NULL,
    key           text NOT NULL,
    request_hash  bytea NOT NULL,                     -- of method, path and body
    chat_id       uuid NOT NULL,
    version       bigint,                             -- of the transition; null: nothing changed
    message_ids   bigint[],                           -- stored in the history
    queued_id     bigint,                             -- stored in the queue
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner_id, key)
);

-- Sweeps of tables with rows that expire: the turn of the process that took it last, and the page at
-- which the next one begins.
CREATE TABLE chat_sweeps (
    table_name  text PRIMARY KEY,
    taken_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_page   bigint NOT NULL DEFAULT 0 CHECK (next_page >= 0)
) WITH (fillfactor = 50);
