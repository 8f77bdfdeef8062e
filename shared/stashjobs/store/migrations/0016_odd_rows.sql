-- What programs cannot read or send is refused, and mended where it is: a time before Christ or at
-- the end of all times, which Python does not have, and a document of another shape, such as
-- headers that are no texts. One such row, written by SQL, stopped what reads many.
--
-- Added for new rows first, then validated, which reads all rows and holds up no job.

CREATE OR REPLACE FUNCTION delivery_fits(delivery jsonb) RETURNS boolean IMMUTABLE
RETURN jsonb_typeof(delivery) = 'object'
   AND coalesce(jsonb_typeof(delivery -> 'headers'), 'object') = 'object'
   AND NOT coalesce(jsonb_path_exists(
           delivery, 'strict $.headers.* ? (@.type() != "string")', '{}', true), false)
   AND coalesce(jsonb_typeof(delivery -> 'callback'), 'string') = 'string'
   AND coalesce(jsonb_typeof(delivery -> 'failureCallback'), 'string') = 'string';
CREATE OR REPLACE FUNCTION errors_fit(errors jsonb) RETURNS boolean IMMUTABLE
RETURN jsonb_typeof(errors) = 'array'
   AND NOT coalesce(jsonb_path_exists(
           errors, 'strict $[*] ? (@.type() != "object")', '{}', true), false);
CREATE OR REPLACE FUNCTION within_bounds(at timestamptz) RETURNS timestamptz STABLE
RETURN CASE WHEN at < '0001-01-01 00:00+00' THEN '0001-01-01 00:00+00'
            WHEN at > '9000-01-01 00:00+00' THEN '9000-01-01 00:00+00' ELSE at END;

ALTER TABLE job_executions DROP CONSTRAINT IF EXISTS job_executions_documents_of_their_shape;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_documents_of_their_shape
    CHECK (jsonb_typeof(metadata) = 'object'
       AND jsonb_typeof(errors) = 'array'
       AND NOT coalesce(jsonb_path_exists(
               errors, 'strict $[*] ? (@.type() != "object")', '{}', true), false)
       AND jsonb_typeof(delivery) = 'object'
       AND coalesce(jsonb_typeof(delivery -> 'headers'), 'object') = 'object'
       AND NOT coalesce(jsonb_path_exists(
               delivery, 'strict $.headers.* ? (@.type() != "string")', '{}', true), false)
       AND coalesce(jsonb_typeof(delivery -> 'callback'), 'string') = 'string'
       AND coalesce(jsonb_typeof(delivery -> 'failureCallback'), 'string') = 'string') NOT VALID;
-- A job that waits has failed: what it asked for cannot be had. It can be retried without.
UPDATE job_executions AS job
   SET metadata = CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata
                       ELSE jsonb_build_object('was', metadata) END,
       errors = CASE WHEN errors_fit(errors) THEN errors ELSE '[]' END,
       delivery = CASE WHEN delivery_fits(delivery) THEN delivery ELSE '{}' END,
       status = CASE WHEN NOT is_over THEN status
                     WHEN status = 'waiting' THEN 'cancelled' ELSE 'failed' END,
       completed_at = CASE WHEN is_over THEN now() ELSE completed_at END,
       error = CASE WHEN is_over THEN 'DeliveryMalformed: its headers or callbacks were removed'
                    ELSE error END
  FROM (SELECT job_id, status IN ('waiting', 'pending', 'retrying')
                         AND NOT delivery_fits(delivery) AS is_over
          FROM job_executions
         WHERE jsonb_typeof(metadata) <> 'object' OR NOT errors_fit(errors)
            OR NOT delivery_fits(delivery)) AS odd
 WHERE job.job_id = odd.job_id;
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_documents_of_their_shape;

ALTER TABLE job_executions DROP CONSTRAINT IF EXISTS job_executions_times_within_bounds;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_times_within_bounds
    CHECK (least(created_at, available_at, published_at, started_at, lease_expires_at,
             completed_at, updated_at) >= '0001-01-01 00:00+00'
       AND greatest(created_at, available_at, published_at, started_at, lease_expires_at,
             completed_at, updated_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE job_executions
   SET created_at = within_bounds(created_at),
       available_at = within_bounds(available_at),
       published_at = within_bounds(published_at),
       started_at = within_bounds(started_at),
       lease_expires_at = within_bounds(lease_expires_at),
       completed_at = within_bounds(completed_at),
       updated_at = within_bounds(updated_at)
 WHERE created_at <> within_bounds(created_at) OR available_at <>
    within_bounds(available_at) OR published_at <> within_bounds(published_at) OR
    started_at <> within_bounds(started_at) OR lease_expires_at <>
    within_bounds(lease_expires_at) OR completed_at <> within_bounds(completed_at)
    OR updated_at <> within_bounds(updated_at);
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_times_within_bounds;

ALTER TABLE job_actions DROP CONSTRAINT IF EXISTS job_actions_times_within_bounds;
ALTER TABLE job_actions ADD CONSTRAINT job_actions_times_within_bounds
    CHECK (at BETWEEN '0001-01-01 00:00+00' AND '9000-01-01 00:00+00') NOT VALID;
UPDATE job_actions
   SET at = within_bounds(at)
 WHERE at <> within_bounds(at);
ALTER TABLE job_actions VALIDATE CONSTRAINT job_actions_times_within_bounds;

-- What never expires has no such time.
ALTER TABLE notifications DROP CONSTRAINT IF EXISTS notifications_times_within_bounds;
ALTER TABLE notifications ADD CONSTRAINT notifications_times_within_bounds
    CHECK (least(created_at, expires_at, read_at) >= '0001-01-01 00:00+00'
       AND greatest(created_at, expires_at, read_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE notifications
   SET created_at = within_bounds(created_at),
       expires_at = CASE WHEN expires_at = within_bounds(expires_at) THEN expires_at END,
       read_at = within_bounds(read_at)
 WHERE created_at <> within_bounds(created_at) OR expires_at <> within_bounds(expires_at)
    OR read_at <> within_bounds(read_at);
ALTER TABLE notifications VALIDATE CONSTRAINT notifications_times_within_bounds;

ALTER TABLE access_tokens DROP CONSTRAINT IF EXISTS access_tokens_times_within_bounds;
ALTER TABLE access_tokens ADD CONSTRAINT access_tokens_times_within_bounds
    CHECK (least(created_at, expires_at, revoked_at) >= '0001-01-01 00:00+00'
       AND greatest(created_at, expires_at, revoked_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE access_tokens
   SET created_at = within_bounds(created_at),
       expires_at = CASE WHEN expires_at = within_bounds(expires_at) THEN expires_at END,
       revoked_at = within_bounds(revoked_at)
 WHERE created_at <> within_bounds(created_at) OR expires_at <> within_bounds(expires_at)
    OR revoked_at <> within_bounds(revoked_at);
ALTER TABLE access_tokens VALIDATE CONSTRAINT access_tokens_times_within_bounds;

ALTER TABLE emails DROP CONSTRAINT IF EXISTS emails_times_within_bounds;
ALTER TABLE emails ADD CONSTRAINT emails_times_within_bounds
    CHECK (least(status_at, sent_at, updated_at) >= '0001-01-01 00:00+00'
       AND greatest(status_at, sent_at, updated_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE emails
   SET status_at = within_bounds(status_at),
       sent_at = within_bounds(sent_at),
       updated_at = within_bounds(updated_at)
 WHERE status_at <> within_bounds(status_at) OR sent_at <> within_bounds(sent_at) OR
    updated_at <> within_bounds(updated_at);
ALTER TABLE emails VALIDATE CONSTRAINT emails_times_within_bounds;

ALTER TABLE subscriptions DROP CONSTRAINT IF EXISTS subscriptions_times_within_bounds;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_times_within_bounds
    CHECK (least(current_period_end, cancel_at, canceled_at, ended_at, trial_end, started_at,
             event_created, updated_at) >= '0001-01-01 00:00+00'
       AND greatest(current_period_end, cancel_at, canceled_at, ended_at, trial_end,
             started_at, event_created, updated_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE subscriptions
   SET current_period_end = within_bounds(current_period_end),
       cancel_at = within_bounds(cancel_at),
       canceled_at = within_bounds(canceled_at),
       ended_at = within_bounds(ended_at),
       trial_end = within_bounds(trial_end),
       started_at = within_bounds(started_at),
       event_created = within_bounds(event_created),
       updated_at = within_bounds(updated_at)
 WHERE current_period_end <> within_bounds(current_period_end) OR cancel_at <>
    within_bounds(cancel_at) OR canceled_at <> within_bounds(canceled_at) OR
    ended_at <> within_bounds(ended_at) OR trial_end <> within_bounds(trial_end) OR
    started_at <> within_bounds(started_at) OR event_created <>
    within_bounds(event_created) OR updated_at <> within_bounds(updated_at);
ALTER TABLE subscriptions VALIDATE CONSTRAINT subscriptions_times_within_bounds;

ALTER TABLE access_log DROP CONSTRAINT IF EXISTS access_log_times_within_bounds;
ALTER TABLE access_log ADD CONSTRAINT access_log_times_within_bounds
    CHECK (at BETWEEN '0001-01-01 00:00+00' AND '9000-01-01 00:00+00') NOT VALID;
UPDATE access_log
   SET at = within_bounds(at)
 WHERE at <> within_bounds(at);
ALTER TABLE access_log VALIDATE CONSTRAINT access_log_times_within_bounds;

ALTER TABLE dashboard_sessions DROP CONSTRAINT IF EXISTS dashboard_sessions_times_within_bounds;
ALTER TABLE dashboard_sessions ADD CONSTRAINT dashboard_sessions_times_within_bounds
    CHECK (least(created_at, expires_at) >= '0001-01-01 00:00+00'
       AND greatest(created_at, expires_at) <= '9000-01-01 00:00+00') NOT VALID;
UPDATE dashboard_sessions
   SET created_at = within_bounds(created_at),
       expires_at = within_bounds(expires_at)
 WHERE created_at <> within_bounds(created_at) OR expires_at <> within_bounds(expires_at);
ALTER TABLE dashboard_sessions VALIDATE CONSTRAINT dashboard_sessions_times_within_bounds;

ALTER TABLE schedule_actions DROP CONSTRAINT IF EXISTS schedule_actions_times_within_bounds;
ALTER TABLE schedule_actions ADD CONSTRAINT schedule_actions_times_within_bounds
    CHECK (at BETWEEN '0001-01-01 00:00+00' AND '9000-01-01 00:00+00') NOT VALID;
UPDATE schedule_actions
   SET at = within_bounds(at)
 WHERE at <> within_bounds(at);
ALTER TABLE schedule_actions VALIDATE CONSTRAINT schedule_actions_times_within_bounds;

-- The price of a month is divided by it.
ALTER TABLE subscriptions DROP CONSTRAINT IF EXISTS subscriptions_interval_count_from_1;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_interval_count_from_1
    CHECK (interval_count >= 1) NOT VALID;
UPDATE subscriptions SET interval_count = NULL WHERE interval_count < 1;
ALTER TABLE subscriptions VALIDATE CONSTRAINT subscriptions_interval_count_from_1;

DROP FUNCTION IF EXISTS delivery_fits(jsonb);
DROP FUNCTION IF EXISTS errors_fit(jsonb);
DROP FUNCTION IF EXISTS within_bounds(timestamptz);
