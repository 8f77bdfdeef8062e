-- The open parents of a job, and of one of its shards the youngest first.
DROP INDEX CONCURRENTLY IF EXISTS idx_job_dependencies_open_shard;
CREATE INDEX CONCURRENTLY idx_job_dependencies_open_shard
    ON job_dependencies (job_id, shard, parent_id) WHERE open;
DROP INDEX CONCURRENTLY IF EXISTS idx_job_dependencies_open;
