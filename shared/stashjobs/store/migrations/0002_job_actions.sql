-- What operators did, to which job, when; and what the job was before, since a retry clears it.

CREATE TABLE job_actions (
    action_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL CHECK (action IN ('retry', 'cancel')),
    job_id      text COLLATE "C" NOT NULL,
    before      jsonb NOT NULL  -- status, error, result, completedAt, dlqId
);

CREATE INDEX idx_job_actions_job_id ON job_actions (job_id);
CREATE INDEX idx_job_actions_at ON job_actions (at DESC);
