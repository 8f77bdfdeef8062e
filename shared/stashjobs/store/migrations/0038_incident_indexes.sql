-- For the statistics of a day: what failed and was retried since.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_failed_runs;
CREATE INDEX CONCURRENTLY idx_job_executions_failed_runs ON job_executions (created_at DESC)
    INCLUDE (failed_runs) WHERE failed_runs > 0;

-- The runs of a schedule.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_schedule;
CREATE INDEX CONCURRENTLY idx_job_executions_schedule
    ON job_executions ((metadata ->> 'schedule'), created_at DESC) WHERE metadata ? 'schedule';
