-- `backoff`: `available_at` is when QStash tries again by itself, and its word counts. `snoozes`: how
-- often this run was put off.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS backoff boolean NOT NULL DEFAULT false;
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS snoozes integer NOT NULL DEFAULT 0;
