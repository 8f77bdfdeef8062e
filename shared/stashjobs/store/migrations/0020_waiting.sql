-- The status of a job that waits for others. Validated after it holds for new rows: that reads all
-- rows, and holds up no job.
ALTER TABLE job_executions DROP CONSTRAINT IF EXISTS job_executions_status_check;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_status_check
    CHECK (status IN ('waiting', 'pending', 'processing', 'retrying',
                      'completed', 'failed', 'cancelled')) NOT VALID;
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_status_check;

-- For the relay's look at those that no parent released.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_waiting;
CREATE INDEX CONCURRENTLY idx_job_executions_waiting ON job_executions (job_id)
    WHERE status = 'waiting';
