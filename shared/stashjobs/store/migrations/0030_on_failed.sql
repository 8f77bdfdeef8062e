-- Which job type is enqueued when a job of a type fails for good: `on_failed=`, as the code declares it.
CREATE TABLE IF NOT EXISTS job_type_followers (
    job_type      text PRIMARY KEY,
    on_failed     text NOT NULL,
    max_attempts  integer NOT NULL CHECK (max_attempts >= 1)
);
