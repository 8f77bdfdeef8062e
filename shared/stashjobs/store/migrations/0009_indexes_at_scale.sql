-- The indexes that ten million jobs ask for (benchmarks/results/growth.md). Each statement can be
-- repeated: an index that takes another's place is built under a name of its own first.

-- `status` alone never found anything that (status, created_at) does not. What is asked of it is how
-- much waits, since when, and what runs; the jobs that have ended, nearly all, are not in it.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_status_new;
CREATE INDEX CONCURRENTLY idx_job_executions_status_new ON job_executions (status, available_at)
    WHERE status IN ('pending', 'processing', 'retrying');
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_status;
ALTER INDEX idx_job_executions_status_new RENAME TO idx_job_executions_status;

-- The newest jobs of one that has many, or has had none for long.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_user_id_new;
CREATE INDEX CONCURRENTLY idx_job_executions_user_id_new
    ON job_executions (user_id, created_at DESC) WHERE user_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_user_id;
ALTER INDEX idx_job_executions_user_id_new RENAME TO idx_job_executions_user_id;

DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_organization_id_new;
CREATE INDEX CONCURRENTLY idx_job_executions_organization_id_new
    ON job_executions (organization_id, created_at DESC) WHERE organization_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_organization_id;
ALTER INDEX idx_job_executions_organization_id_new RENAME TO idx_job_executions_organization_id;

DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_type_created;
CREATE INDEX CONCURRENTLY idx_job_executions_type_created
    ON job_executions (job_type, created_at DESC);

-- The jobs that have an error are few.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_error;
CREATE INDEX CONCURRENTLY idx_job_executions_error ON job_executions (created_at DESC)
    WHERE error IS NOT NULL;

-- Those of which QStash was told and nothing was heard since (publications.FIND_SILENT).
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_silent;
CREATE INDEX CONCURRENTLY idx_job_executions_silent
    ON job_executions (greatest(published_at, available_at))
    WHERE status IN ('pending', 'retrying') AND published_at IS NOT NULL;

-- Those that run are few, and (status, available_at) has them. Without it an attempt that extends its
-- lease changes no index.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_executions_lease;

-- For the clean-up, which finds the oldest by it.
DROP INDEX CONCURRENTLY IF EXISTS idx_emails_sent_at;
CREATE INDEX CONCURRENTLY idx_emails_sent_at ON emails (sent_at);

-- Written once, read once and deleted within a second; to compress it takes longer.
ALTER TABLE archive_batches ALTER COLUMN job_ids SET STORAGE EXTERNAL;
