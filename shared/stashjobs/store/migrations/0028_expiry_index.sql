-- What waits and expires, for the relay.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_expires_at;
CREATE INDEX CONCURRENTLY idx_job_executions_expires_at ON job_executions (expires_at)
    WHERE expires_at IS NOT NULL AND status IN ('waiting', 'pending', 'retrying');
