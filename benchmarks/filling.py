"""Millions of jobs, as a busy system would have them after 90 days; made by Postgres itself.

Of the jobs a tenth were created within the last day and a fiftieth within the last hour. Three in a
hundred wait, most of them because they are not due yet; the others have ended, 96 % of them well.
Some users and organizations have far more jobs than others, one organization and one type have had
none for a month, and one type is rare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

GONE_ORGANIZATION = "o_gone"
GONE_TYPE = "legacy-import"
RARE_TYPE = "cleanup-old-data"
HEAVY_USER = "u_0"
HEAVY_ORGANIZATION = "o_0"

# Numbers that look random and are the same every time: `n` is the row's, the rest says for what.
FUNCTIONS = """
CREATE FUNCTION pg_temp.chance(n bigint, salt int) RETURNS float LANGUAGE sql IMMUTABLE AS $$
    SELECT (hashint8extended(n, salt) & 1048575)::float / 1048576
$$;
"""

# One row of the system for each n; columns that a schema lacks are left out of the SELECT.
JOBS = """
WITH drawn AS (
    SELECT n, pg_temp.chance(n, 1) AS a, pg_temp.chance(n, 2) AS b, pg_temp.chance(n, 3) AS c,
           pg_temp.chance(n, 4) AS d, pg_temp.chance(n, 5) AS e,
           now() - interval '90 days' * power((%(rows)s - n)::float / %(rows)s, 2) AS created_at,
           power((%(rows)s - n)::float / %(rows)s, 2) > 0.4 AS is_old
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
), named AS (
    SELECT *,
           lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') AS time_hex,
           CASE WHEN is_old AND a < 0.02 THEN 'legacy-import'
                WHEN a < 0.4501 THEN 'send-email'
                WHEN a < 0.70 THEN 'create-notification'
                WHEN a < 0.88 THEN 'process-webhook'
                WHEN a < 0.96 THEN 'process-stripe-webhook'
                WHEN a < 0.985 THEN 'export-data'
                WHEN a < 0.9999 THEN 'generate-report'
                ELSE 'cleanup-old-data' END AS job_type,
           CASE WHEN created_at > now() - interval '7 days' AND b < 0.08 THEN 'pending'
                WHEN created_at > now() - interval '1 day' AND b < 0.085 THEN 'retrying'
                WHEN created_at > now() - interval '5 minutes' AND b < 0.10 THEN 'processing'
                WHEN b < 0.96 THEN 'completed'
                WHEN b < 0.99 THEN 'failed'
                ELSE 'cancelled' END AS status
      FROM drawn
), timed AS (
    SELECT *,
           status IN ('completed', 'failed', 'cancelled') AS is_over,
           status = 'pending' AND c < 0.9 AS is_delayed,
           created_at + interval '1 second' * (0.1 + c) AS began_at,
           interval '1 second' * (0.05 + 3 * power(d, 6)) AS took
      FROM named
), jobs AS (
    SELECT n,
           substr(time_hex, 1, 8) || '-' || substr(time_hex, 9, 4) || '-7'
             || substr(md5(n::text), 1, 3) || '-a' || substr(md5(n::text), 4, 3) || '-'
             || substr(md5(n::text), 7, 12) AS job_id,
           job_type, status,
           jsonb_build_object('to', 'user' || n || '@example.com', 'template', 'welcome', 'data',
             jsonb_build_object('name', 'Ada ' || n, 'text', repeat(md5(n::text), 4 + n::int %% 5)))
             AS payload,
           CASE WHEN status = 'completed'
                THEN jsonb_build_object('emailId', md5((n + 1)::text)) END AS result,
           CASE WHEN status IN ('failed', 'retrying')
                THEN (ARRAY['Timeout: the other side did not answer within 10 s',
                            'HTTPError: 503 Service Unavailable',
                            'ValueError: no such address'])[1 + n %% 3] || ' (' || n || ')'
                WHEN status = 'cancelled' THEN 'cancelled by ada' END AS error,
           CASE WHEN status IN ('failed', 'retrying') THEN 2 WHEN status = 'pending' THEN 0
                ELSE 1 END AS attempt,
           CASE WHEN is_old AND e < 0.02 THEN 'o_gone'
                WHEN e < 0.6 THEN 'o_' || floor(2000 * power(e / 0.6, 2)) END AS organization_id,
           CASE WHEN d < 0.7 THEN 'u_' || floor(200000 * power(d / 0.7, 3)) END AS user_id,
           CASE WHEN n %% 20 = 0
                THEN jsonb_build_object('parentJobId', md5((n / 100)::text)) ELSE '{}' END
             AS metadata,
           CASE WHEN n %% 5 = 0 THEN 'key:' || n END AS idempotency_key,
           'msg_' || md5((n + 2)::text) AS message_id,
           created_at,
           CASE WHEN is_delayed THEN created_at + interval '7 days' + interval '1 minute'
                ELSE created_at END AS available_at,
           created_at + interval '50 ms' AS published_at,
           CASE WHEN status <> 'pending' THEN began_at END AS started_at,
           CASE WHEN status = 'processing' THEN now() + interval '1 day' END AS lease_expires_at,
           CASE WHEN is_over THEN least(began_at + took, now()) END AS completed_at,
           least(CASE WHEN status = 'pending' THEN created_at ELSE began_at + took END, now())
             AS updated_at
      FROM timed
)
"""

OUR_COLUMNS = (
    "job_id, job_type, status, payload, result, error, errors, attempt, max_attempts, user_id, "
    "organization_id, metadata, idempotency_key, message_id, created_at, available_at, "
    "published_at, started_at, lease_expires_at, completed_at, updated_at"
)
INSERT_OURS = f"""
INSERT INTO job_executions ({OUR_COLUMNS})
{JOBS}
SELECT job_id, job_type, status, payload, result, error,
       CASE WHEN attempt = 2 THEN jsonb_build_array(jsonb_build_object('attempt', 1,
         'type', 'Timeout', 'message', 'the other side did not answer', 'startedAt', started_at,
         'endedAt', updated_at)) ELSE '[]' END,
       attempt, 4, user_id, organization_id, metadata, idempotency_key, message_id, created_at,
       available_at, published_at, started_at, lease_expires_at, completed_at, updated_at
  FROM jobs ORDER BY n
"""

# The deployment guide has the columns and five indexes (design, 1.2), and no key but the job's id.
SEED_SCHEMA = """
CREATE TABLE job_executions (
    job_id text PRIMARY KEY, job_type text NOT NULL, status text NOT NULL, payload jsonb NOT NULL,
    result jsonb, error text, retry_count integer NOT NULL DEFAULT 0, user_id text,
    organization_id text, started_at timestamptz, completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_job_executions_status ON job_executions(status);
CREATE INDEX idx_job_executions_created_at ON job_executions(created_at DESC);
CREATE INDEX idx_job_executions_user_id ON job_executions(user_id);
CREATE INDEX idx_job_executions_organization_id ON job_executions(organization_id);
CREATE INDEX idx_job_executions_status_created ON job_executions(status, created_at DESC);
"""
INSERT_SEED = f"""
INSERT INTO job_executions (job_id, job_type, status, payload, result, error, retry_count, user_id,
                            organization_id, started_at, completed_at, created_at, updated_at)
{JOBS}
SELECT job_id, job_type, status, payload, result, error, greatest(attempt - 1, 0), user_id,
       organization_id, started_at, completed_at, created_at, updated_at
  FROM jobs ORDER BY n
"""

READ_INDEXES = """
SELECT pg_get_indexdef(indexrelid), relname FROM pg_index JOIN pg_class ON oid = indexrelid
 WHERE indrelid = 'job_executions'::regclass AND NOT indisprimary
"""
CHUNK = 1_000_000


def fill(connection: Connection, insert: str, rows: int, *, tell: str = "") -> None:
    """Put `rows` jobs into an empty `job_executions`; its indexes are built afterwards, which
    leaves them as compact as a REINDEX would.

    Args:
        connection: In autocommit mode.
        insert: `INSERT_OURS` or `INSERT_SEED`.
        rows: How many.
        tell: What the progress line says that this is. "": there is none.
    """
    from benchmarks.measuring import progress

    indexes = connection.execute(READ_INDEXES).fetchall()
    for _, name in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    connection.execute("SET maintenance_work_mem = '512MB'")
    connection.execute(FUNCTIONS)
    for first in range(1, rows + 1, CHUNK):
        last = min(rows, first + CHUNK - 1)
        if tell:
            progress(f"{tell}: rows {first:,} to {last:,}")
        connection.execute(insert.encode(), {"rows": rows, "first": first, "last": last})
    for definition, name in indexes:
        if tell:
            progress(f"{tell}: {name}")
        connection.execute(definition.encode())
    if tell:
        progress(f"{tell}: VACUUM ANALYZE")
    connection.execute("VACUUM (ANALYZE, FREEZE) job_executions")
    connection.execute("RESET maintenance_work_mem")
