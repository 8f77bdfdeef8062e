-- After which no attempt of a job begins; what waits then is cancelled.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS expires_at timestamptz
    CHECK (expires_at BETWEEN '0001-01-01 00:00+00' AND '9000-01-01 00:00+00');
