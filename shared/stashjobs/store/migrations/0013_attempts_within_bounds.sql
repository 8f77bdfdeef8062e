-- Added for new rows first, then validated, which reads all rows and holds up no job.
ALTER TABLE job_executions DROP CONSTRAINT IF EXISTS job_executions_attempt_within_bounds;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_attempt_within_bounds
    CHECK (attempt BETWEEN 0 AND max_attempts) NOT VALID;
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_attempt_within_bounds;

ALTER TABLE job_executions DROP CONSTRAINT IF EXISTS job_executions_run_from_1;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_run_from_1 CHECK (run >= 1) NOT VALID;
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_run_from_1;
