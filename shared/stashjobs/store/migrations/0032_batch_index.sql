-- The jobs of a batch, counted by status.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_batch;
CREATE INDEX CONCURRENTLY idx_job_executions_batch ON job_executions (batch_id, status)
    WHERE batch_id IS NOT NULL;
