-- The clean-up's batches that are on their way to the archive. One is written down before its object
-- is, and goes in the transaction that deletes its rows: a run that was killed in between is
-- continued with the same rows under the same key, so the archive has every row once.

CREATE TABLE archive_batches (
    object_key  text COLLATE "C" PRIMARY KEY,
    job_ids     text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
