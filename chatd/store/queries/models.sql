-- The models that chats may name.

-- name: upsert
-- Store the configured models, so that a chat's model always resolves. An id is derived from its
-- name. Several processes may start at the same moment. DO UPDATE would handle a conflict of one
-- unique index and fail on the other, so new rows are inserted with DO NOTHING, in one order.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(:ids::uuid[], :names::text[], :providers::text[], :models::text[],
                         :context_limits::integer[], :settings::jsonb[])
        AS i (id, name, provider, model, context_limit, settings)
), locked AS MATERIALIZED (
    SELECT c.id FROM chat_model_configs c JOIN input i ON i.id = c.id
    WHERE (c.provider, c.model, c.context_limit, c.settings)
          IS DISTINCT FROM (i.provider, i.model, i.context_limit, i.settings)
    ORDER BY c.id FOR NO KEY UPDATE OF c
), updated AS (
    UPDATE chat_model_configs c SET
        provider = i.provider, model = i.model, context_limit = i.context_limit,
        settings = i.settings, updated_at = clock_timestamp()
    FROM locked JOIN input i ON i.id = locked.id
    WHERE c.id = locked.id
)
INSERT INTO chat_model_configs (id, name, provider, model, context_limit, settings)
SELECT id, name, provider, model, context_limit, settings FROM input ORDER BY id
ON CONFLICT DO NOTHING;

-- name: names
-- Read every model that a chat may name, including those that are no longer configured.
SELECT id, name FROM chat_model_configs;
