-- Release or cancel the jobs that wait for those of these that have ended (in this transaction, or are
-- gone). Returns the jobs that are due now; those that were cancelled cancel their own children in turn.
--
-- Of two parents that end at the same moment, neither sees the other's end; so those that may be the
-- last take the child's row one after the other. Very many parents would all wait for that row: they
-- are in shards, where only the last of a shard goes on to the row and closes the dependencies of all of
-- them, and only those of one shard wait for each other.
CREATE OR REPLACE FUNCTION stashjobs.release_children(job_ids text[])
RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    ended text[];
    all_well boolean;
    children text[];
    shards smallint[];
    keys bigint[];
    key bigint;
    cancelled text[];
    due text[];
    released text[] := '{}';
BEGIN
    SELECT array_agg(given.id), bool_and(job.status IS NOT DISTINCT FROM 'completed')
      INTO ended, all_well
      FROM unnest(job_ids) AS given (id) LEFT JOIN job_executions AS job ON job.job_id = given.id
     WHERE job.job_id IS NULL OR job.completed_at IS NOT NULL;
    LOOP
        SELECT array_agg(found.job_id), array_agg(found.shard),
               array_agg(DISTINCT stashjobs.shard_key(found.job_id, found.shard))
                   FILTER (WHERE found.shard IS NOT NULL)
          INTO children, shards, keys
          FROM (SELECT DISTINCT link.job_id, link.shard FROM job_dependencies AS link
                 WHERE link.parent_id = ANY(ended) AND link.open) AS found;
        EXIT WHEN children IS NULL;

        FOREACH key IN ARRAY coalesce(keys, '{}') LOOP
            PERFORM pg_advisory_xact_lock(key);
        END LOOP;
        UPDATE job_dependencies AS link SET open = false
         WHERE link.parent_id = ANY(ended) AND link.open AND link.shard IS NULL;

        cancelled := '{}';
        IF NOT all_well THEN
            PERFORM FROM job_executions AS job
              WHERE job.job_id = ANY(children) AND CASE WHEN job.status = 'waiting' THEN true END
              ORDER BY job.job_id FOR UPDATE;
            WITH changed AS (
                UPDATE job_executions AS job
                   SET status = 'cancelled', completed_at = moment, updated_at = moment,
                       error = format('ParentNotCompleted: %s, which this job waited for, %s',
                                      failed.parent_id, failed.how)
                  FROM (SELECT DISTINCT ON (link.job_id) link.job_id, link.parent_id,
                               CASE parent.status WHEN 'failed' THEN 'has failed'
                                                  WHEN 'cancelled' THEN 'was cancelled'
                                                  ELSE 'is gone' END AS how
                          FROM job_dependencies AS link
                          LEFT JOIN job_executions AS parent ON parent.job_id = link.parent_id
                         WHERE link.parent_id = ANY(ended) AND link.required = 'completed'
                           AND parent.status IS DISTINCT FROM 'completed'
                         ORDER BY link.job_id, link.position) AS failed
                 WHERE job.job_id = failed.job_id
                   AND CASE WHEN job.status = 'waiting' THEN true END
                RETURNING job.job_id
            )
            SELECT coalesce(array_agg(changed.job_id), '{}') INTO cancelled FROM changed;
        END IF;

        IF keys IS NOT NULL THEN
            SELECT array_agg(found.job_id), array_agg(found.shard) INTO children, shards
              FROM unnest(children, shards) AS found (job_id, shard)
             WHERE found.shard IS NULL OR NOT stashjobs.shard_waits(found.job_id, found.shard);
        END IF;
        IF children IS NOT NULL THEN
            PERFORM FROM job_executions AS job WHERE job.job_id = ANY(children)
              ORDER BY job.job_id FOR UPDATE;
            IF keys IS NOT NULL THEN
                -- Asked again: who adds parents, or retries one, holds the child's row.
                UPDATE job_dependencies AS link SET open = false
                  FROM (SELECT each.job_id, each.shard
                          FROM unnest(children, shards) AS each (job_id, shard)
                         WHERE each.shard IS NOT NULL
                           AND NOT stashjobs.shard_waits(each.job_id, each.shard)
                        OFFSET 0) AS found
                 WHERE link.job_id = found.job_id AND link.shard = found.shard AND link.open;
            END IF;
            WITH changed AS (
                UPDATE job_executions AS job
                   SET status = 'pending', available_at = greatest(job.available_at, moment),
                       updated_at = moment
                 WHERE job.job_id = ANY(children)
                   AND CASE WHEN job.status = 'waiting' THEN true END
                   AND NOT EXISTS (SELECT FROM job_dependencies AS link
                                    WHERE link.job_id = job.job_id AND link.open)
                RETURNING job.job_id
            )
            SELECT coalesce(array_agg(changed.job_id), '{}') INTO due FROM changed;
            released := released || due;
        END IF;
        EXIT WHEN cancelled = '{}';
        ended := cancelled;
        all_well := false;
    END LOOP;
    RETURN released;
END
$$;
