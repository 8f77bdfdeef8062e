-- What operators asked of a job type at run time. A row is the truth; QStash's flow control follows it.
CREATE TABLE IF NOT EXISTS job_type_states (
    job_type        text PRIMARY KEY,
    paused          boolean NOT NULL DEFAULT false,
    rate            integer CHECK (rate >= 1),
    period_seconds  integer CHECK (period_seconds BETWEEN 1 AND 604800),
    parallelism     integer CHECK (parallelism >= 1),
    changed_by      text NOT NULL,
    changed_at      timestamptz NOT NULL,
    applied_at      timestamptz,             -- NULL: QStash does not know of it yet
    CHECK ((rate IS NULL) = (period_seconds IS NULL))
);
CREATE TABLE IF NOT EXISTS type_actions (
    action_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    action     text NOT NULL CHECK (action IN ('pause', 'resume', 'limit', 'lift limit')),
    job_type   text NOT NULL,
    before     jsonb
);
CREATE INDEX IF NOT EXISTS idx_type_actions_at ON type_actions (at DESC);
