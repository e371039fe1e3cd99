-- Migrations: what is read before one is run.

-- name: applied
-- Read the migrations that this database has recorded.
SELECT version, name, checksum, applied_at, applied_by_version
FROM chatd_schema_migrations ORDER BY version;

-- name: lock_holder
-- Read the process id and the application name of the session that holds the migration lock.
SELECT l.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '')
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = :lock;
