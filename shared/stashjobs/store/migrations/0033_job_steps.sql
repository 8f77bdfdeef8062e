-- The kept results of steps (docs/steps.md).

CREATE TABLE job_steps (
    job_id      text COLLATE "C" NOT NULL,
    position    integer NOT NULL CHECK (position >= 1),  -- the number of its call, from 1
    name        text NOT NULL,
    result      jsonb NOT NULL,
    attempt     integer NOT NULL,                        -- that kept it
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,

    PRIMARY KEY (job_id, position)
);
