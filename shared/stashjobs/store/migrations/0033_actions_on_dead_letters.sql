-- Deleting a job's dead letter at QStash is an action too.
ALTER TABLE job_actions DROP CONSTRAINT IF EXISTS job_actions_action_check;
ALTER TABLE job_actions ADD CONSTRAINT job_actions_action_check
    CHECK (action IN ('retry', 'cancel', 'run now', 'reschedule', 'edit', 'delete',
                      'delete dead letter')) NOT VALID;
