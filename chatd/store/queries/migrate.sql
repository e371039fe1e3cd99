-- Migrations: what is asked before one is run.

-- name: applied
-- The migrations that this database has, as it says itself.
SELECT version, name, checksum, applied_at, applied_by_version
FROM chatd_schema_migrations ORDER BY version;

-- name: holder
-- The session that holds the lock of whoever migrates: its process, and what it calls itself.
-- $1 the lock
SELECT l.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '')
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = $1;
