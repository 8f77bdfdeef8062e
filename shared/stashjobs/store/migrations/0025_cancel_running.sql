-- Who asked for a running job to be cancelled; the attempt finds it with its next sign of life.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS cancel_requested_by text;
