-- One job of a type with a key waits; or waits or runs, where they ask for that.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_unique_waiting;
CREATE UNIQUE INDEX CONCURRENTLY idx_job_executions_unique_waiting
    ON job_executions (job_type, unique_key)
    WHERE unique_key IS NOT NULL AND status IN ('waiting', 'pending', 'retrying');
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_unique_running;
CREATE UNIQUE INDEX CONCURRENTLY idx_job_executions_unique_running
    ON job_executions (job_type, unique_key)
    WHERE unique_key IS NOT NULL AND unique_running
      AND status IN ('waiting', 'pending', 'retrying', 'processing');

-- By which a key is found, whatever else is asked of its job.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_unique_key;
CREATE INDEX CONCURRENTLY idx_job_executions_unique_key ON job_executions (unique_key)
    WHERE unique_key IS NOT NULL;
