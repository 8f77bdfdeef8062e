"""The doctor's SQL."""

from __future__ import annotations

# Only those of the schema that the settings lead to.
READ_INDEXES = """
-- read_indexes
SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
 WHERE relnamespace = (SELECT relnamespace FROM pg_class
                        WHERE oid = to_regclass('job_executions'))
"""

READ_LIMITS = """
-- read_limits
SELECT current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true), '0')::int
"""

READ_OLDEST_UNPUBLISHED = """
-- read_oldest_unpublished
SELECT coalesce(extract(epoch FROM now() - min(available_at)), 0)::float
  FROM job_executions WHERE published_at IS NULL AND status IN ('pending', 'retrying')
"""

READ_ROLE = """
-- read_role
SELECT current_user::text, pg_get_userbyid(relowner)::text,
       pg_has_role(current_user, relowner, 'MEMBER')
  FROM pg_class WHERE oid = to_regclass('job_executions')
"""

READ_HAS_JOBS = "-- read_has_jobs\nSELECT to_regclass('job_executions') IS NOT NULL"

READ_NEWEST = """
-- read_newest
SELECT max(created_at), coalesce(extract(epoch FROM now() - max(created_at)), 0)::float
  FROM job_executions
"""

READ_CLOCK = "-- read_clock\nSELECT extract(epoch FROM clock_timestamp())::float"
