-- name: server
-- Read what a start must know about the server, the database and the role.
SELECT version() AS product,
       current_setting('server_version_num')::integer AS version,
       current_setting('server_encoding') AS encoding,
       quote_ident(current_database()) AS database,
       quote_ident(current_user) AS role,
       current_setting('search_path') AS search_path,
       quote_ident(COALESCE(NULLIF(btrim(replace(split_part(
           current_setting('search_path'), ',', 1), '"$user"', current_user), ' "'), ''), 'chatd'))
           AS first_schema,
       current_schema() AS schema,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only;

-- name: may_create
-- Read whether the role may create tables in its schema.
SELECT quote_ident(current_user) AS role,
       quote_ident(current_schema()) AS schema,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create;

-- name: case_rules
-- Read whether a search in titles ignores the case of letters outside ASCII.
SELECT upper('ü' COLLATE chat_case) = 'Ü' AS known;

-- name: settings_in_force
-- Read the values in force of the settings of the given names.
SELECT name, setting, quote_ident(current_user) AS role
FROM pg_settings
WHERE name = ANY(:names::text[]);
