-- Access tokens. Only their hashes are stored.

-- name: create
-- Create a token. It expires at `:expires_at`, or `:lifetime_seconds` from now, or never (both
-- null).
INSERT INTO api_tokens (owner_id, hash, scopes, name, expires_at)
VALUES (:owner_id, :hash, :scopes, :name,
        COALESCE(:expires_at, clock_timestamp() + make_interval(secs => :lifetime_seconds)))
RETURNING *, 'active' AS state;

-- name: list
-- Read all tokens, or those of one owner, the oldest first, each with its present state.
SELECT *, CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
               WHEN expires_at <= clock_timestamp() THEN 'expired'
               ELSE 'active' END AS state
FROM api_tokens WHERE :owner_id::text IS NULL OR owner_id = :owner_id
ORDER BY created_at, id;

-- name: revoke
-- Revoke a token for good. A repeat keeps the time of the first revocation.
UPDATE api_tokens SET revoked_at = COALESCE(revoked_at, clock_timestamp()) WHERE id = :token_id
RETURNING *, 'revoked' AS state;

-- name: validate
-- Read which of the given tokens are valid now, and record the use of some. The time of the last
-- use is exact to ten seconds, so that a busy token is not written over and over. A row that
-- another replica is writing is skipped, so no statement waits for another.
WITH due AS MATERIALIZED (
    SELECT id FROM api_tokens
    WHERE hash = ANY(:used_hashes::bytea[])
      AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '10 seconds')
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), updated AS (
    UPDATE api_tokens t SET last_used_at = clock_timestamp() FROM due WHERE t.id = due.id
)
SELECT id, hash, owner_id, scopes,
       EXTRACT(EPOCH FROM expires_at - clock_timestamp())::float8 AS expires_in
FROM api_tokens
WHERE hash = ANY(:hashes::bytea[]) AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp());
