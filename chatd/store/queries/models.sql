-- Models that chats may name.

-- name: keep
-- The configured models as rows, so that a chat's model always resolves. Several processes may start
-- at the same moment: DO UPDATE would heed one unique index and stumble over the other, so what is
-- new goes in by DO NOTHING, in one order.
-- $1 ids, $2 names (an id is derived from its name), $3 providers, $4 models, $5 context limits, $6 settings
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::jsonb[])
        AS g (id, name, provider, model, context_limit, settings)
), other AS MATERIALIZED (
    SELECT c.id FROM chat_model_configs c JOIN given g ON g.id = c.id
    WHERE (c.provider, c.model, c.context_limit, c.settings)
          IS DISTINCT FROM (g.provider, g.model, g.context_limit, g.settings)
    ORDER BY c.id FOR NO KEY UPDATE OF c
), changed AS (
    UPDATE chat_model_configs c SET
        provider = g.provider, model = g.model, context_limit = g.context_limit,
        settings = g.settings, updated_at = clock_timestamp()
    FROM other JOIN given g ON g.id = other.id
    WHERE c.id = other.id
)
INSERT INTO chat_model_configs (id, name, provider, model, context_limit, settings)
SELECT id, name, provider, model, context_limit, settings FROM given ORDER BY id
ON CONFLICT DO NOTHING;

-- name: names
-- Every model that a chat may name, also one that is no longer configured.
SELECT id, name FROM chat_model_configs;
