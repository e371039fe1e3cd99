-- Tokens that callers prove themselves with. Only their hashes are stored.

-- name: create
-- $1 owner, $2 hash, $3 admin, $4 name, $5 seconds until it expires or null, $6 when it expires or null
INSERT INTO api_tokens (owner_id, hash, admin, name, expires_at)
VALUES ($1, $2, $3, $4, COALESCE($6, clock_timestamp() + make_interval(secs => $5)))
RETURNING *, 'active' AS state;

-- name: list
-- All tokens, or those of one owner, the oldest first, with what each is worth now.
-- $1 owner or null
SELECT *, CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
               WHEN expires_at <= clock_timestamp() THEN 'expired'
               ELSE 'active' END AS state
FROM api_tokens WHERE $1::text IS NULL OR owner_id = $1
ORDER BY created_at, id;

-- name: revoke
-- Once revoked, a token never works again. Safe to repeat: the first moment stays.
-- $1 token
UPDATE api_tokens SET revoked_at = COALESCE(revoked_at, clock_timestamp()) WHERE id = $1
RETURNING *, 'revoked' AS state;

-- name: check
-- Of the given tokens those that are valid now, and a note that some were used. The note is exact to
-- ten seconds, so that a busy token is not written again and again; a row that another replica is
-- writing at this moment is passed by, so nobody waits for anybody and what is read is not old.
-- $1 hashes, $2 hashes of those that were used
WITH due AS MATERIALIZED (
    SELECT id FROM api_tokens
    WHERE hash = ANY($2::bytea[])
      AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '10 seconds')
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), used AS (
    UPDATE api_tokens t SET last_used_at = clock_timestamp() FROM due WHERE t.id = due.id
)
SELECT hash, owner_id, admin,
       EXTRACT(EPOCH FROM expires_at - clock_timestamp())::float8 AS expires_in
FROM api_tokens
WHERE hash = ANY($1::bytea[]) AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp());
