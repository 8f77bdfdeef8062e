-- What operators may do to jobs that wait, and to a job's dead letter at QStash. Added for new rows
-- first, then validated, which reads all rows and holds up no job.
ALTER TABLE job_actions DROP CONSTRAINT IF EXISTS job_actions_action_check;
ALTER TABLE job_actions ADD CONSTRAINT job_actions_action_check
    CHECK (action IN ('retry', 'cancel', 'run now', 'reschedule', 'edit', 'delete',
                      'delete dead letter')) NOT VALID;
ALTER TABLE job_actions VALIDATE CONSTRAINT job_actions_action_check;
