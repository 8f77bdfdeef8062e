-- How many runs of a job failed and were retried since, which its status says no longer.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS failed_runs integer NOT NULL DEFAULT 0;
