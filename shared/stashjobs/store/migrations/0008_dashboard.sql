-- The operators' dashboard (functions/api/dashboard): who is signed in, and what it looks up.

-- A session is a random cookie; only its hash is kept. It is worth what its token is worth: every
-- request looks the token up again, so a token that is revoked ends its sessions.
CREATE TABLE dashboard_sessions (
    session_hash  bytea PRIMARY KEY,         -- SHA-256 of the cookie's value
    token_hash    bytea NOT NULL,            -- of the token that signed in; ADMIN_TOKEN has no row
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL
);
CREATE INDEX idx_dashboard_sessions_expires_at ON dashboard_sessions (expires_at);

-- Attempts to sign in, per source and minute.
CREATE UNLOGGED TABLE dashboard_sign_ins (
    source  text PRIMARY KEY,                -- an IPv4 address, or an IPv6 network of 64 bits
    minute  timestamptz NOT NULL,
    used    integer NOT NULL
);

-- What operators did to schedules; what they did to jobs is in job_actions.
CREATE TABLE schedule_actions (
    action_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    action     text NOT NULL CHECK (action IN ('pause', 'resume', 'run')),
    schedule   text NOT NULL,                -- its name
    job_id     text COLLATE "C"              -- of the job that `run` enqueued
);
CREATE INDEX idx_schedule_actions_at ON schedule_actions (at DESC);

-- An open page asks every few seconds; whoever reads the log wants to see the rest.
CREATE INDEX idx_access_log_without_polls ON access_log (access_id DESC)
    WHERE path NOT LIKE '/admin/live/%';

-- The jobs that a job enqueued.
CREATE INDEX idx_job_executions_parent ON job_executions ((metadata ->> 'parentJobId'))
    WHERE metadata ? 'parentJobId';
