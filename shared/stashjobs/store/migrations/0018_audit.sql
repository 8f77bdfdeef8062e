-- Who enqueued a job over HTTP, and who made and revoked tokens.

ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS enqueued_by text;  -- the token's name

CREATE TABLE IF NOT EXISTS token_actions (
    action_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now()
               CHECK (at BETWEEN '0001-01-01 00:00+00' AND '9000-01-01 00:00+00'),
    actor      text NOT NULL,
    action     text NOT NULL CHECK (action IN ('make token', 'revoke token')),
    token      text NOT NULL,               -- its name
    scopes     text[] NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_token_actions_at ON token_actions (at DESC);
