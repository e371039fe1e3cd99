-- The whole house of chatd: chats and their history, the journal, live parts, the ledger of tool
-- calls, and who may call. The table of states (which columns go with which status) is held by the
-- CHECK constraints of `chats`, so that not even psql can store a chat that no move could make.

CREATE TABLE chat_model_configs (
    id             uuid PRIMARY KEY,                  -- derived from the name
    name           text NOT NULL UNIQUE CHECK (name <> ''),
    provider       text NOT NULL,
    model          text NOT NULL,
    context_limit  integer CHECK (context_limit > 0),
    settings       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(settings) = 'object'),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE workers (
    worker_id     uuid PRIMARY KEY,                   -- fresh for every process start
    host          text NOT NULL,
    pid           integer NOT NULL,
    version       text NOT NULL,
    max_chats     integer NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp()   -- in no index: its updates stay HOT
) WITH (fillfactor = 50);

CREATE TABLE chats (
    id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id              text NOT NULL CHECK (owner_id <> ''),
    parent_chat_id        uuid REFERENCES chats ON DELETE CASCADE,
    root_chat_id          uuid NOT NULL REFERENCES chats ON DELETE CASCADE,   -- itself, for a root
    title                 text NOT NULL DEFAULT '',
    status                text NOT NULL DEFAULT 'waiting',
    last_error            text,
    last_error_detail     jsonb,
    worker_id             uuid,
    started_at            timestamptz,                -- when the owner claimed it
    heartbeat_at          timestamptz,                -- in no index: its updates stay HOT
    pending_since         timestamptz,                -- its place in the line of claims
    action_deadline       timestamptz,                -- until when it waits for client-run tools
    epoch                 bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    version               bigint NOT NULL DEFAULT 1 CHECK (version >= 1),
    step                  bigint NOT NULL DEFAULT 0 CHECK (step >= 0),
    parts_done            bigint NOT NULL DEFAULT 0 CHECK (parts_done >= 0),
    recoveries            integer NOT NULL DEFAULT 0 CHECK (recoveries >= 0),
    attempts              integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at       timestamptz,
    queue_length          integer NOT NULL DEFAULT 0 CHECK (queue_length >= 0),
    archived              boolean NOT NULL DEFAULT false,
    labels                jsonb NOT NULL DEFAULT '{}',
    tools                 jsonb NOT NULL DEFAULT '[]',
    last_model_config_id  uuid NOT NULL REFERENCES chat_model_configs,
    input_tokens          bigint NOT NULL DEFAULT 0,
    output_tokens         bigint NOT NULL DEFAULT 0,
    cache_read_tokens     bigint NOT NULL DEFAULT 0,
    cache_write_tokens    bigint NOT NULL DEFAULT 0,
    reasoning_tokens      bigint NOT NULL DEFAULT 0,
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at            timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT chats_status_known CHECK (
        status IN ('waiting', 'pending', 'running', 'interrupting', 'requires_action', 'error')),
    CONSTRAINT chats_owner_while_worked CHECK (
        CASE WHEN status IN ('running', 'interrupting')
             THEN worker_id IS NOT NULL AND started_at IS NOT NULL AND heartbeat_at IS NOT NULL
                  AND epoch > 0
             ELSE worker_id IS NULL AND started_at IS NULL AND heartbeat_at IS NULL END),
    CONSTRAINT chats_error_with_reason CHECK (
        CASE WHEN status = 'error' THEN last_error IS NOT NULL AND last_error <> ''
             ELSE last_error IS NULL AND last_error_detail IS NULL END),
    CONSTRAINT chats_pending_has_place CHECK ((status = 'pending') = (pending_since IS NOT NULL)),
    CONSTRAINT chats_action_has_deadline CHECK (
        (status = 'requires_action') = (action_deadline IS NOT NULL)),
    CONSTRAINT chats_archived_at_rest CHECK (NOT archived OR status IN ('waiting', 'error')),
    CONSTRAINT chats_idle_without_queue CHECK (status <> 'waiting' OR queue_length = 0),
    CONSTRAINT chats_retry_while_working CHECK (
        status IN ('pending', 'running', 'interrupting')
        OR (attempts = 0 AND next_attempt_at IS NULL)),
    CONSTRAINT chats_recoveries_while_working CHECK (
        status IN ('pending', 'running', 'interrupting') OR recoveries = 0),
    CONSTRAINT chats_root_of_itself CHECK (parent_chat_id IS NOT NULL OR root_chat_id = id),
    CONSTRAINT chats_not_its_parent CHECK (parent_chat_id <> id),
    CONSTRAINT chats_error_detail_object CHECK (jsonb_typeof(last_error_detail) = 'object'),
    CONSTRAINT chats_labels_object CHECK (jsonb_typeof(labels) = 'object'),
    CONSTRAINT chats_tools_array CHECK (jsonb_typeof(tools) = 'array')
) WITH (
    fillfactor = 70,                                  -- room for a beat on the row's own page
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 1
);

-- The claim reads this one and nothing else.
CREATE INDEX chats_pending ON chats (pending_since) WHERE status = 'pending';
-- Renewing, reaping, releasing: the few rows that are owned.
CREATE INDEX chats_owned ON chats (worker_id) WHERE worker_id IS NOT NULL;
-- A caller's list, most recently touched first.
CREATE INDEX chats_of_owner ON chats (owner_id, updated_at DESC, id DESC);
CREATE INDEX chats_of_family ON chats (root_chat_id);
CREATE INDEX chats_of_parent ON chats (parent_chat_id) WHERE parent_chat_id IS NOT NULL;

-- The workers that own chats and have let go of their lock, which they hold while they live. A free
-- lock says nothing of owners that have not renewed since this server started: its start freed every
-- lock. Looking takes each lock for the length of the statement.
CREATE FUNCTION chat_gone_workers(looking uuid) RETURNS SETOF uuid LANGUAGE sql VOLATILE AS $$
    WITH owners AS MATERIALIZED (
        SELECT worker_id, max(heartbeat_at) AS heartbeat_at FROM chats
        WHERE worker_id IS NOT NULL AND worker_id <> looking
        GROUP BY worker_id
    )
    SELECT worker_id FROM owners
    WHERE heartbeat_at > pg_postmaster_start_time()
      AND pg_try_advisory_xact_lock(hashtextextended(worker_id::text, 0))
$$;

CREATE TABLE chat_messages (
    chat_id             uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    id                  bigint GENERATED ALWAYS AS IDENTITY,
    version             bigint NOT NULL,              -- the move that stored it
    role                text NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    content             jsonb NOT NULL CHECK (jsonb_typeof(content) = 'array'),
    visibility          text NOT NULL DEFAULT 'both' CHECK (visibility IN ('both', 'user', 'model')),
    compressed          boolean NOT NULL DEFAULT false,   -- covered by a later summary
    superseded_version  bigint,                       -- the edit that hid it; null while it counts
    model_config_id     uuid REFERENCES chat_model_configs,
    finish_reason       text,
    input_tokens        integer,
    output_tokens       integer,
    cache_read_tokens   integer,
    cache_write_tokens  integer,
    reasoning_tokens    integer,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- New messages arrive as one jsonb array; this makes rows of it, in order.
CREATE FUNCTION chat_given_messages(given jsonb) RETURNS TABLE (
    n bigint, role text, content jsonb, visibility text, model_config_id uuid, finish_reason text,
    input_tokens integer, output_tokens integer, cache_read_tokens integer,
    cache_write_tokens integer, reasoning_tokens integer
) LANGUAGE sql IMMUTABLE AS $$
    SELECT m.n, m.given->>'role', m.given->'content', COALESCE(m.given->>'visibility', 'both'),
           (m.given->>'model_config_id')::uuid, m.given->>'finish_reason',
           (m.given->'usage'->>'input_tokens')::integer,
           (m.given->'usage'->>'output_tokens')::integer,
           (m.given->'usage'->>'cache_read_tokens')::integer,
           (m.given->'usage'->>'cache_write_tokens')::integer,
           (m.given->'usage'->>'reasoning_tokens')::integer
    FROM jsonb_array_elements(given) WITH ORDINALITY AS m (given, n)
$$;

CREATE TABLE chat_queued_messages (
    chat_id          uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    id               bigint GENERATED ALWAYS AS IDENTITY,
    position         bigint NOT NULL,                 -- the head has the lowest; ties go by id
    content          jsonb NOT NULL CHECK (jsonb_typeof(content) = 'array'),
    model_config_id  uuid NOT NULL REFERENCES chat_model_configs,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- The journal: one row a move, in the order of `version`, without a gap. It is the stream.
CREATE TABLE chat_events (
    chat_id    uuid NOT NULL REFERENCES chats ON DELETE CASCADE,
    version    bigint NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    move       text NOT NULL,
    status     text NOT NULL,
    epoch      bigint NOT NULL,
    worker_id  uuid,
    data       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
    PRIMARY KEY (chat_id, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX chat_events_by_age ON chat_events USING brin (at);

-- What a running step has streamed so far, in batches: for viewers on other replicas, and for a
-- reaper. It may be lost with the server: the step is then run again.
CREATE UNLOGGED TABLE chat_parts (
    chat_id  uuid NOT NULL,                           -- no foreign key: it would lock the chat's row
    epoch    bigint NOT NULL,
    first    bigint NOT NULL,                         -- numbers of the first and the last of `parts`
    last     bigint NOT NULL CHECK (last >= first),
    parts    jsonb NOT NULL CHECK (jsonb_array_length(parts) = last - first + 1),
    PRIMARY KEY (chat_id, epoch, last)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- The ledger: a row before a tool call starts, completed after it, so that a crash can tell.
CREATE TABLE chat_tool_calls (
    chat_id       uuid NOT NULL,
    tool_call_id  text NOT NULL,
    message_id    bigint NOT NULL,                    -- the assistant message that made the call
    tool_name     text NOT NULL,
    runs_at       text NOT NULL CHECK (runs_at IN ('server', 'client')),
    idempotent    boolean NOT NULL DEFAULT false,
    epoch         bigint NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at  timestamptz,
    is_error      boolean,
    PRIMARY KEY (chat_id, tool_call_id),
    FOREIGN KEY (chat_id, message_id) REFERENCES chat_messages ON DELETE CASCADE
);
CREATE INDEX chat_tool_calls_open ON chat_tool_calls (chat_id) WHERE completed_at IS NULL;

CREATE TABLE api_tokens (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id      text NOT NULL CHECK (owner_id <> ''),
    hash          bytea NOT NULL UNIQUE,
    admin         boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz
);

CREATE TABLE idempotency_keys (
    owner_id     text NOT NULL,
    key          text NOT NULL,
    fingerprint  bytea NOT NULL,                      -- of method, path and body
    status_code  integer NOT NULL,
    answer       jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys USING brin (created_at);
