-- After which no attempt of a job begins; what waits then is cancelled.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS expires_at timestamptz;
