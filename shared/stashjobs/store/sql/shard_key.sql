-- The advisory lock of one of the shards of a job's parents. All jobs share a thousand of them, since
-- Postgres has room for some thousand locks at once.
CREATE OR REPLACE FUNCTION stashjobs.shard_key(child_id text, shard smallint)
RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT 782917460000 + ((pg_catalog.hashtext(child_id) + shard) & 1023)
$$;
