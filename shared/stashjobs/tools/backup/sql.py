"""The SQL of dumps, scratch databases and their comparison."""

from __future__ import annotations

from psycopg.sql import SQL

READ_COMMENT = """
-- read_comment
SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s
"""

TRY_LOCK = "-- try_lock\nSELECT pg_try_advisory_lock(782917461, hashtext(%s))"

DROP_DATABASE = SQL("-- drop_database\nDROP DATABASE IF EXISTS {} (FORCE)")

# Those that this Postgres has: the last is of version 17.
SET_NO_TIMEOUTS = """
-- set_no_timeouts
SELECT set_config(name, '0', false) FROM pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
                'idle_session_timeout', 'transaction_timeout')
"""

# How values are written is the session's to say; both sessions say the same.
WRITE_ALIKE = """
-- write_alike
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),
       set_config('intervalstyle', 'iso_8601', true), set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true)
"""

_OURS = """
nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
"""

READ_TABLES = f"""
-- read_tables
SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE relkind = 'r' AND {_OURS}
 ORDER BY nspname, relname
"""

READ_OBJECTS = f"""
-- read_objects
SELECT 'index ' || nspname || '.' || relname FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'i' AND {_OURS}
UNION ALL
SELECT 'sequence ' || nspname || '.' || relname FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'S' AND {_OURS}
UNION ALL
SELECT 'trigger ' || tgname || ' of ' || nspname || '.' || relname FROM pg_trigger
  JOIN pg_class ON pg_class.oid = tgrelid
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE NOT tgisinternal AND {_OURS}
"""

# The sum of the rows' hashes does not depend on their order, and counts a doubled row twice.
READ_ROWS = """
-- read_rows
SELECT count(*), coalesce(sum(hashtextextended(whole::text, 0)::numeric), 0)::text
  FROM ONLY {} AS whole
"""
