-- The relay takes turns between types, and finds the oldest of each by this. It is built under a name
-- of its own first, so that each statement can be repeated.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_unpublished_new;
CREATE INDEX CONCURRENTLY idx_job_executions_unpublished_new
    ON job_executions (job_type, available_at, job_id)
    WHERE published_at IS NULL AND status IN ('pending', 'retrying');
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_unpublished;
ALTER INDEX idx_job_executions_unpublished_new RENAME TO idx_job_executions_unpublished;
