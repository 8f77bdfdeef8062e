"""The SQL that applies migrations, renews the functions and grants the worker's rights."""

from __future__ import annotations

CREATE_HISTORY = """
-- create_history
CREATE TABLE IF NOT EXISTS stashjobs_migrations (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""

# Also where the role has timeouts of its own. Not all versions of Postgres have each.
SET_TIMEOUTS = """
-- set_timeouts
SELECT set_config(name, CASE name WHEN 'lock_timeout' THEN %s ELSE '0' END, true)
  FROM pg_settings
 WHERE name IN ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout',
                'transaction_timeout')
"""

# Another role's session shows its name and no more, but to a member of pg_read_all_stats.
READ_HOLDER = """
-- read_holder
SELECT format('session %s (role %s, application %s, %s%s) holds %s', pid,
              coalesce(usename, 'none'), coalesce(nullif(application_name, ''), 'unnamed'),
              coalesce(state, 'its state is not shown'),
              to_char(xact_start AT TIME ZONE 'UTC', '", in a transaction since" HH24:MI:SS "UTC"'),
              relation::regclass)
  FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE granted AND locktype = 'relation' AND pid <> pg_backend_pid()
   AND relation IN (
           SELECT oid FROM pg_class
            WHERE relkind = 'r' AND relnamespace = (
                      SELECT relnamespace FROM pg_class
                       WHERE oid = to_regclass('stashjobs_migrations')))
 ORDER BY xact_start LIMIT 1
"""

# Never waits within a statement: a waiting statement has a snapshot, and CREATE INDEX CONCURRENTLY
# waits for all older snapshots, while they would wait for it.
TRY_LOCK = "-- try_lock\nSELECT pg_try_advisory_xact_lock(%s)"

# Until it had a name of its own, it had that of Rails', Ecto's and golang-migrate's tables, which
# know no checksum.
_FORMER_HISTORY = """(
    SELECT attrelid FROM pg_attribute
     WHERE attrelid = to_regclass('schema_migrations') AND attname = 'checksum')"""

RENAME_HISTORY = f"""
-- rename_history
DO $$ BEGIN
    IF to_regclass('stashjobs_migrations') IS NULL AND {_FORMER_HISTORY} IS NOT NULL THEN
        ALTER TABLE schema_migrations RENAME CONSTRAINT schema_migrations_pkey
            TO stashjobs_migrations_pkey;
        ALTER TABLE schema_migrations RENAME TO stashjobs_migrations;
    END IF;
END $$
"""

# The tables' schema. A role of the name stashjobs finds the schema of the functions before it
# (Postgres docs, "The Schema Search Path"), and no table belongs there.
KEEP_TO_THE_SCHEMA_OF_THE_TABLES = f"""
-- keep_to_the_schema_of_the_tables
SELECT set_config('search_path', coalesce(quote_ident(coalesce(
    (SELECT nspname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
      WHERE pg_class.oid = coalesce(to_regclass('stashjobs_migrations'), {_FORMER_HISTORY})),
    (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
      WHERE name <> 'stashjobs' ORDER BY place LIMIT 1))) || ', pg_temp',
    current_setting('search_path')), true)
"""

READ_BYTES = """
-- read_bytes
SELECT coalesce(max(pg_table_size(oid)), 0) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""

FIND_HISTORY = f"""
-- find_history
SELECT coalesce(to_regclass('stashjobs_migrations'), {_FORMER_HISTORY})::regclass::text
"""

READ_HISTORY = "-- read_history\nSELECT name, checksum FROM {} ORDER BY name"

RECORD_APPLIED = (
    "-- record_applied\nINSERT INTO stashjobs_migrations (name, checksum) VALUES (%s, %s)"
)

CREATE_FUNCTIONS = """
-- create_functions
CREATE TABLE IF NOT EXISTS schema_functions (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    definition  text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""

CREATE_SCHEMA = "-- create_schema\nCREATE SCHEMA stashjobs"

SCHEMA_EXISTS = "-- schema_exists\nSELECT to_regnamespace('stashjobs') IS NOT NULL"

FUNCTIONS_EXIST = "-- functions_exist\nSELECT to_regclass('schema_functions') IS NOT NULL"

READ_FUNCTIONS = """
-- read_functions
SELECT name, checksum, definition IS NOT DISTINCT FROM (
           SELECT md5(string_agg(pg_get_functiondef(own.oid), '' ORDER BY own.oid))
             FROM pg_proc AS own
            WHERE pronamespace = to_regnamespace('stashjobs') AND proname = known.name)
  FROM schema_functions AS known
"""

READ_SIGNATURES = """
-- read_signatures
SELECT oid::regprocedure::text FROM pg_proc
 WHERE pronamespace = to_regnamespace('stashjobs') AND proname = %s
"""

FORGET_FUNCTION = "-- forget_function\nDELETE FROM schema_functions WHERE name = %s"

RECORD_FUNCTION = """
-- record_function
INSERT INTO schema_functions (name, checksum, definition)
SELECT %(name)s::text, %(checksum)s, md5(string_agg(pg_get_functiondef(oid), '' ORDER BY oid))
  FROM pg_proc WHERE pronamespace = to_regnamespace('stashjobs') AND proname = %(name)s::name
    ON CONFLICT (name) DO UPDATE
   SET checksum = excluded.checksum, definition = excluded.definition, applied_at = now()
"""

CREATE_ROLES = """
-- create_roles
CREATE TABLE IF NOT EXISTS schema_worker_roles (
    role  name PRIMARY KEY
)
"""

ROLES_EXIST = "-- roles_exist\nSELECT to_regclass('schema_worker_roles') IS NOT NULL"

REMEMBER_ROLE = (
    "-- remember_role\nINSERT INTO schema_worker_roles (role) VALUES (%s) ON CONFLICT DO NOTHING"
)

READ_ROLES = """
-- read_roles
SELECT known.role::text FROM schema_worker_roles AS known JOIN pg_roles ON rolname = known.role
 ORDER BY 1
"""

ROLE_EXISTS = "-- role_exists\nSELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)"

READ_OWNER = """
-- read_owner
SELECT pg_has_role(%s, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('job_executions')
"""

READ_SCHEMA = """
-- read_schema
SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('job_executions')
"""

# A team's own tables in the same schema are its jobs' to read and write.
GRANT_SCHEMAS = """
-- grant_schemas
GRANT USAGE ON SCHEMA stashjobs, {schema} TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stashjobs TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {role}
"""

REVOKE = "-- revoke\nREVOKE ALL ON TABLE {table} FROM {role}"

GRANT = "-- grant\nGRANT {rights} ON TABLE {table} TO {role}"

# Everyone, and those whom Supabase's API has ask: a database may grant them each new table.
READ_OUTSIDERS = """
-- read_outsiders
SELECT DISTINCT relname::text, coalesce(rolname, 'public')::text
  FROM pg_class
 CROSS JOIN LATERAL aclexplode(relacl)
  LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE (relname = ANY(%s)
        OR pg_class.oid IN (SELECT sequence.objid FROM pg_depend AS sequence
                              JOIN pg_class AS owner ON owner.oid = sequence.refobjid
                             WHERE sequence.classid = 'pg_class'::regclass
                               AND sequence.deptype IN ('a', 'i') AND pg_class.relkind = 'S'
                               AND owner.relname = ANY(%s)))
   AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('job_executions'))
   AND (grantee = 0 OR rolname IN ('anon', 'authenticated'))
 ORDER BY 1, 2
"""
