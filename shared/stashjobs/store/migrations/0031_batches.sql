-- Batches: jobs that belong together (docs/composition.md). Where a batch has a job that runs when all of
-- its jobs have ended, that job has the batch's id.
CREATE TABLE IF NOT EXISTS job_batches (
    batch_id    text COLLATE "C" PRIMARY KEY,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_job_batches_created_at ON job_batches (created_at DESC, batch_id DESC);
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS batch_id text COLLATE "C";
