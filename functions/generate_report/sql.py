"""The reports' SQL, each statement named for what it tells.

All take `start`, `end`, `timezone` and `organization_id` (NULL: all of them). A duration is that of
a completed job's last attempt, in seconds.
"""

from __future__ import annotations

ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
TIME_LIMIT = "-- time_limit\nSELECT set_config('statement_timeout', %s, true)"
TIMES_IN = "-- times_in\nSELECT set_config('TimeZone', %s, true)"

_CREATED_IN_PERIOD = """
  FROM job_executions
 WHERE created_at >= %(start)s AND created_at < %(end)s
   AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
"""
_BY_OUTCOME = """
       count(*) AS total,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       count(*) FILTER (WHERE status IN ('pending', 'processing', 'retrying')) AS open
"""
_SECONDS = "extract(epoch FROM completed_at - started_at)::float"
_PERCENTILES = f"""
       percentile_cont(0.5) WITHIN GROUP (ORDER BY {_SECONDS})
         FILTER (WHERE status = 'completed' AND started_at IS NOT NULL) AS p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY {_SECONDS})
         FILTER (WHERE status = 'completed' AND started_at IS NOT NULL) AS p95
"""
_DAY = "(created_at AT TIME ZONE %(timezone)s)::date"

TOTALS = f"""
-- totals
SELECT {_BY_OUTCOME}, count(*) FILTER (WHERE attempt - attempts_before_run > 1) AS retried,
       {_PERCENTILES}
{_CREATED_IN_PERIOD}
"""
OUTCOMES_BY_DAY = f"""
-- outcomes_by_day
SELECT {_DAY} AS day, {_BY_OUTCOME} {_CREATED_IN_PERIOD} GROUP BY 1 ORDER BY 1
"""
OUTCOMES_BY_TYPE = f"""
-- outcomes_by_type
SELECT job_type AS "jobType", {_BY_OUTCOME}, {_PERCENTILES}
{_CREATED_IN_PERIOD} GROUP BY 1 ORDER BY total DESC, 1
"""
# The same error with another id in it is another line; the first line and its beginning are what is
# the same most often. What is shown is cut after it was masked: a part of a key could not be told.
TOP_ERRORS = f"""
-- top_errors
SELECT max(split_part(coalesce(error, 'no error was recorded'), E'\\n', 1)) AS error,
       array_agg(DISTINCT job_type ORDER BY job_type) AS "jobTypes", count(*) AS count,
       max(completed_at) AS "lastAt"
{_CREATED_IN_PERIOD} AND status = 'failed'
 GROUP BY left(split_part(coalesce(error, 'no error was recorded'), E'\\n', 1), 200)
 ORDER BY count DESC, "lastAt" DESC LIMIT 10
"""

USAGE_TOTALS = f"""
-- usage_totals
SELECT count(*) AS total, count(DISTINCT organization_id) AS organizations,
       count(DISTINCT user_id) AS users,
       coalesce(sum({_SECONDS}) FILTER (WHERE completed_at > started_at), 0) AS seconds
{_CREATED_IN_PERIOD}
"""
USAGE_BY_DAY = f"""
-- usage_by_day
SELECT {_DAY} AS day, count(*) AS total, count(DISTINCT user_id) AS users
{_CREATED_IN_PERIOD} GROUP BY 1 ORDER BY 1
"""
USAGE_BY_ORGANIZATION = f"""
-- usage_by_organization
SELECT organization_id AS "organizationId", count(*) AS total,
       count(*) FILTER (WHERE status = 'failed') AS failed, count(DISTINCT user_id) AS users,
       coalesce(sum({_SECONDS}) FILTER (WHERE completed_at > started_at), 0) AS seconds,
       max(created_at) AS "lastAt"
{_CREATED_IN_PERIOD} AND organization_id IS NOT NULL
 GROUP BY 1 ORDER BY total DESC, 1 LIMIT 25
"""
USAGE_BY_USER = f"""
-- usage_by_user
SELECT user_id AS "userId", min(organization_id) AS "organizationId", count(*) AS total,
       count(*) FILTER (WHERE status = 'failed') AS failed, max(created_at) AS "lastAt"
{_CREATED_IN_PERIOD} AND user_id IS NOT NULL
 GROUP BY 1 ORDER BY total DESC, 1 LIMIT 25
"""

_SUBSCRIPTIONS = """
  FROM subscriptions
 WHERE (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
"""
# Those that had begun and had not ended when the period did. The table holds what is now, so the
# status and the price of the past are taken to have been those of today.
_RUNNING = f"""{_SUBSCRIPTIONS}
   AND started_at < %(end)s AND (ended_at IS NULL OR ended_at >= %(end)s)
   AND status NOT IN ('incomplete', 'incomplete_expired')
"""
_PAYING = f"{_RUNNING} AND status IN ('active', 'past_due', 'canceled')"
# In the currency's smallest unit. A month is a twelfth of a year, also of one in weeks or days.
_A_MONTH = """
       coalesce(interval_amount / coalesce(interval_count, 1)
         * CASE billing_interval WHEN 'day' THEN 365.0 / 12 WHEN 'week' THEN 52.0 / 12
                                 WHEN 'year' THEN 1.0 / 12 ELSE 1 END, 0)
"""
REVENUE = f"""
-- revenue
SELECT upper(currency) AS currency, count(*) AS subscriptions, round(sum({_A_MONTH}))::bigint AS mrr
{_PAYING} AND currency IS NOT NULL GROUP BY 1 ORDER BY mrr DESC, 1
"""
SUBSCRIPTIONS_BY_PLAN = f"""
-- subscriptions_by_plan
SELECT coalesce(price_id, '(no price)') AS plan, upper(currency) AS currency,
       count(*) AS subscriptions, coalesce(sum(quantity), 0)::bigint AS seats,
       round(sum({_A_MONTH}))::bigint AS mrr
{_PAYING} GROUP BY 1, 2 ORDER BY mrr DESC, subscriptions DESC, 1
"""
SUBSCRIPTIONS_BY_STATUS = f"""
-- subscriptions_by_status
SELECT status, count(*) AS subscriptions {_RUNNING} GROUP BY 1 ORDER BY 2 DESC, 1
"""
_COMINGS = f"""{_SUBSCRIPTIONS} AND status NOT IN ('incomplete', 'incomplete_expired')
   AND started_at >= %(start)s AND started_at < %(end)s"""
_GOINGS = f"{_SUBSCRIPTIONS} AND ended_at >= %(start)s AND ended_at < %(end)s"
STARTED_AND_ENDED_BY_DAY = f"""
-- started_and_ended_by_day
SELECT day, sum(started)::bigint AS started, sum(ended)::bigint AS ended FROM (
    SELECT (started_at AT TIME ZONE %(timezone)s)::date AS day, 1 AS started, 0 AS ended {_COMINGS}
    UNION ALL
    SELECT (ended_at AT TIME ZONE %(timezone)s)::date, 0, 1 {_GOINGS}) AS moves
 GROUP BY 1 ORDER BY 1
"""
