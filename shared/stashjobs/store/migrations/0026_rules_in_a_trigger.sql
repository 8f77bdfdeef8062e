-- The function `check_job` has all of these rules, and its trigger keeps them.
ALTER TABLE job_executions
    DROP CONSTRAINT job_executions_attempt_within_bounds,
    DROP CONSTRAINT job_executions_check,
    DROP CONSTRAINT job_executions_check1,
    DROP CONSTRAINT job_executions_documents_of_their_shape,
    DROP CONSTRAINT job_executions_job_id_check,
    DROP CONSTRAINT job_executions_max_attempts_check,
    DROP CONSTRAINT job_executions_run_from_1,
    DROP CONSTRAINT job_executions_status_check,
    DROP CONSTRAINT job_executions_times_within_bounds;
DROP TRIGGER job_executions_lifecycle ON job_executions;
DROP TRIGGER job_executions_attempt ON job_executions;
DROP TRIGGER job_executions_give_up_unique_key ON job_executions;
DROP FUNCTION job_executions_refuse_illegal_transition();
DROP FUNCTION job_executions_refuse_earlier_attempt();
DROP FUNCTION give_up_unique_key();
