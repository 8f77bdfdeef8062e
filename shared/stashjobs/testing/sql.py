"""The test plugin's SQL."""

from __future__ import annotations

CREATE_DATABASE = "-- create_database\nCREATE DATABASE {}"

COPY_DATABASE = "-- copy_database\nCREATE DATABASE {} TEMPLATE {} STRATEGY wal_log"

DROP_DATABASE = "-- drop_database\nDROP DATABASE IF EXISTS {} (FORCE)"

# Without it, a table's policies could hide rows from us. With the second no trigger fires and no
# foreign key is looked at; only a superuser may ask for that.
SEE_ALL_AND_FIRE_NOTHING = (
    "-- see_all_and_fire_nothing\nSET row_security = off; SET session_replication_role = replica"
)

# The counters of a session are added when it ends, at the latest.
END_OTHER_SESSIONS = """
-- end_other_sessions
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

# A trigger or a rule that fires all the same.
ALWAYS_FIRES = """
-- always_fires
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgenabled IN ('A', 'R') UNION ALL
               SELECT FROM pg_rewrite WHERE ev_enabled IN ('A', 'R') AND ev_type = '4')
"""

READ_TABLES = """
-- read_tables
SELECT oid::regclass::text, oid FROM pg_class
 WHERE relkind = 'r' AND relpersistence <> 't' AND oid >= 16384 AND NOT relnamespace = ANY(
       ARRAY['pg_catalog', 'information_schema']::regnamespace[])
"""

READ_SEQUENCES = """
-- read_sequences
SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' AND relpersistence <> 't'
"""

# The sequence's name comes behind it.
SET_BACK = """
-- set_back
SELECT format('SELECT setval(%%L, %%s, %%L)', %s::text, last_value, is_called) FROM """

# ANALYZE writes statistics. The catalogues of the whole server are everybody's, but for the
# settings of a database.
READ_STATE = """
-- read_state
SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)
          FROM pg_stat_all_tables JOIN pg_class ON pg_class.oid = relid
         WHERE NOT relid = ANY(%s) AND relkind <> 't' AND relid <> 'pg_statistic'::regclass
           AND (NOT relisshared OR relid = 'pg_db_role_setting'::regclass)),
       (SELECT datacl::text FROM pg_database WHERE datname = current_database())
"""

# Deleted rows stay in their files, without a vacuum, and every scan reads them.
READ_SIZE = "-- read_size\nSELECT pg_database_size(current_database())"

FIND_ROWS = "-- find_rows\nSELECT * FROM job_executions ORDER BY created_at, job_id"

FIND_STEPS = "-- find_steps\nSELECT name FROM job_steps WHERE job_id = %s ORDER BY position"

FIND_DUE = """
-- find_due
SELECT job_id, error FROM job_executions
 WHERE status IN ('pending', 'retrying') AND available_at <= now()
 ORDER BY available_at, job_id
"""

# QStash's wait between attempts; a snooze is no such wait.
END_BACKOFF = """
-- end_backoff
UPDATE job_executions SET available_at = least(available_at, now())
 WHERE status = 'retrying' AND backoff
"""

MOVE_STEPS_INTO_THE_PAST = """
-- move_steps_into_the_past
UPDATE job_steps SET started_at = started_at - %(time)s, ended_at = ended_at - %(time)s
"""

MOVE_INTO_THE_PAST = """
-- move_into_the_past
UPDATE job_executions
   SET created_at = created_at - %(time)s, available_at = available_at - %(time)s,
       published_at = published_at - %(time)s, started_at = started_at - %(time)s,
       lease_expires_at = lease_expires_at - %(time)s, completed_at = completed_at - %(time)s,
       updated_at = updated_at - %(time)s
"""
