-- Release or cancel the jobs that wait for those of these that have ended (in this transaction, or are
-- gone). Returns the jobs that are due now; those that were cancelled cancel their own children in turn.
--
-- Of two parents that end at the same moment, neither sees the other's end; so the last ones take
-- the child's row one after the other. All but the last ones need not: while more parents are open
-- than there can be sessions, one of them has yet to come. They hold the row against a last one
-- that would look too early, and not against each other.
CREATE OR REPLACE FUNCTION stashjobs.release_children(job_ids text[])
RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    sessions CONSTANT integer := current_setting('max_connections')::integer;
    ended text[];
    children text[];
    crowded text[];
    cancelled text[];
    due text[];
    released text[] := '{}';
BEGIN
    IF NOT EXISTS (SELECT FROM job_dependencies AS link
                    WHERE link.parent_id = ANY(job_ids) AND link.open) THEN
        RETURN released;
    END IF;
    SELECT array_agg(given.id) INTO ended
      FROM unnest(job_ids) AS given (id)
     WHERE NOT EXISTS (SELECT FROM job_executions AS job
                        WHERE job.job_id = given.id AND job.completed_at IS NULL);
    LOOP
        SELECT array_agg(DISTINCT link.job_id) INTO children
          FROM job_dependencies AS link WHERE link.parent_id = ANY(ended) AND link.open;
        EXIT WHEN children IS NULL;

        SELECT coalesce(array_agg(child.id), '{}') INTO crowded
          FROM unnest(children) AS child (id)
         WHERE (SELECT count(*) FROM (SELECT FROM job_dependencies AS link
                                       WHERE link.job_id = child.id AND link.open
                                       LIMIT 2 * sessions + 1) AS counted) > 2 * sessions;
        PERFORM FROM job_executions AS job WHERE job.job_id = ANY(crowded)
          ORDER BY job.job_id FOR SHARE;
        -- Those that are no longer crowded now that they are held.
        SELECT coalesce(array_agg(child.id), '{}') INTO crowded
          FROM unnest(crowded) AS child (id)
         WHERE (SELECT count(*) FROM (SELECT FROM job_dependencies AS link
                                       WHERE link.job_id = child.id AND link.open
                                       LIMIT sessions + 1) AS counted) > sessions;
        PERFORM FROM job_executions AS job
          WHERE job.job_id = ANY(children) AND job.job_id <> ALL(crowded)
          ORDER BY job.job_id FOR UPDATE;

        UPDATE job_dependencies AS link SET open = false
         WHERE link.parent_id = ANY(ended) AND link.open;

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

        WITH changed AS (
            UPDATE job_executions AS job
               SET status = 'pending', available_at = greatest(job.available_at, moment),
                   updated_at = moment
             WHERE job.job_id = ANY(children) AND job.job_id <> ALL(crowded)
               AND CASE WHEN job.status = 'waiting' THEN true END
               AND NOT EXISTS (SELECT FROM job_dependencies AS link
                                WHERE link.job_id = job.job_id AND link.open)
            RETURNING job.job_id
        )
        SELECT coalesce(array_agg(changed.job_id), '{}') INTO due FROM changed;
        released := released || due;
        ended := cancelled;
    END LOOP;
    RETURN released;
END
$$;
