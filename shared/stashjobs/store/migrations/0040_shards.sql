-- Of a job with very many parents, those that end count each other by shards (docs/composition.md).
ALTER TABLE job_dependencies ADD COLUMN IF NOT EXISTS shard smallint;
