-- Record jobs as pending; the arrays are columns. The second id is the job's own, or that of the job
-- that has its idempotency key already. That one is not touched: an update would lock it for as long
-- as the caller's transaction lasts. Rows go in sorted by key, so that two programs recording the
-- same keys at the same time wait and do not deadlock. Where `after` names other jobs, a job is
-- `waiting` until they have ended, and `due` says whether it is to be published now.
-- `uniqueness` has `key`, `running`, `replace` and `maxWait` (seconds after it was first enqueued): where
-- a job of the type has the key and waits (or runs, if both have `running`), the id is that job's, and
-- with `replace` its payload, metadata and time are the new ones.
CREATE OR REPLACE FUNCTION stashjobs.enqueue_many(
    job_ids text[], types text[], payloads jsonb[], max_attempts integer[],
    available_at timestamptz[], user_ids text[], organization_ids text[],
    idempotency_keys text[], metadata jsonb[], delivery jsonb[], after jsonb[] DEFAULT NULL,
    enqueued_by text[] DEFAULT '{}', uniqueness jsonb[] DEFAULT '{}',
    expires_at timestamptz[] DEFAULT '{}', batch_ids text[] DEFAULT '{}'
)
RETURNS TABLE (asked_id text, job_id text, due boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    recorded text[];
    waiting text[];
    parents jsonb[];
BEGIN
    WITH made AS (
        INSERT INTO job_executions AS job
               (job_id, job_type, status, payload, max_attempts, available_at, user_id, organization_id,
                idempotency_key, metadata, delivery, enqueued_by, unique_key, unique_running,
                expires_at, batch_id, created_at, updated_at)
        SELECT new.id, new.type, CASE WHEN new.after IS NULL THEN 'pending' ELSE 'waiting' END,
               new.payload, new.attempts, coalesce(new.at, moment), new.user_id,
               new.organization_id, new.key, new.about, new.asked, new.asker,
               new.uniqueness ->> 'key', coalesce((new.uniqueness ->> 'running')::boolean, false),
               new.expires, new.batch, moment, moment
          FROM unnest(job_ids, types, payloads, enqueue_many.max_attempts,
                      enqueue_many.available_at, user_ids, organization_ids, idempotency_keys,
                      enqueue_many.metadata, enqueue_many.delivery, enqueue_many.after,
                      enqueue_many.enqueued_by, enqueue_many.uniqueness, enqueue_many.expires_at,
                      enqueue_many.batch_ids)
            AS new (id, type, payload, attempts, at, user_id, organization_id, key, about, asked,
                    after, asker, uniqueness, expires, batch)
         ORDER BY new.type, new.key NULLS FIRST, new.uniqueness ->> 'key' NULLS FIRST, new.id
        ON CONFLICT DO NOTHING
        RETURNING job.job_id
    )
    SELECT coalesce(array_agg(made.job_id), '{}') INTO recorded FROM made;
    IF enqueue_many.after IS NOT NULL THEN
        SELECT array_agg(new.id), array_agg(new.after) INTO waiting, parents
          FROM unnest(job_ids, enqueue_many.after) AS new (id, after)
         WHERE new.after IS NOT NULL AND new.id = ANY(recorded);
        PERFORM stashjobs.add_parents(waiting, parents);
    END IF;
    IF cardinality(batch_ids) > 0 THEN
        PERFORM stashjobs.join_batches(recorded);
    END IF;
    IF enqueue_many.after IS NOT NULL THEN
        RETURN QUERY
        SELECT job.job_id, job.job_id, job.status = 'pending' FROM job_executions AS job
         WHERE job.job_id = ANY(recorded);
    ELSE
        RETURN QUERY SELECT made.id, made.id, true FROM unnest(recorded) AS made (id);
    END IF;
    IF cardinality(recorded) = cardinality(job_ids) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM unnest(job_ids, idempotency_keys, enqueue_many.uniqueness)
                         AS new (id, key, uniqueness)
                WHERE new.key IS NULL AND new.uniqueness IS NULL AND new.id <> ALL(recorded)) THEN
        RAISE EXCEPTION 'a job has this id already' USING ERRCODE = 'unique_violation';
    END IF;
    PERFORM FROM job_executions AS job
       JOIN unnest(types, enqueue_many.uniqueness) AS new (type, uniqueness)
         ON job.unique_key = new.uniqueness ->> 'key'
        AND CASE WHEN job.job_type = new.type THEN job.status <> 'processing' END
      WHERE (new.uniqueness ->> 'replace')::boolean
      ORDER BY job.job_id FOR UPDATE OF job;
    UPDATE job_executions AS job
       SET payload = new.payload, metadata = new.about, available_at = due.at,
           expires_at = new.expires,
           published_at = CASE WHEN due.at < job.available_at THEN NULL
                               ELSE job.published_at END,
           backoff = false,
           moved = job.moved + CASE WHEN due.at < job.available_at THEN 1 ELSE 0 END,
           updated_at = moment
      FROM (SELECT DISTINCT ON (each.type, each.uniqueness ->> 'key') each.*
              FROM unnest(job_ids, types, payloads, enqueue_many.available_at,
                          enqueue_many.metadata, enqueue_many.uniqueness,
                          enqueue_many.expires_at) WITH ORDINALITY
                AS each (id, type, payload, at, about, uniqueness, expires, place)
             WHERE (each.uniqueness ->> 'replace')::boolean AND each.id <> ALL(recorded)
             ORDER BY each.type, each.uniqueness ->> 'key', each.place DESC) AS new
      JOIN job_executions AS found
        ON found.unique_key = new.uniqueness ->> 'key'
       AND CASE WHEN found.job_type = new.type THEN found.status <> 'processing' END
     CROSS JOIN LATERAL (
           SELECT least(coalesce(new.at, moment), found.created_at
                        + make_interval(secs => (new.uniqueness ->> 'maxWait')::float8)) AS at) AS due
     WHERE job.job_id = found.job_id;
    -- Statements of their own, which see what another program committed in this moment.
    RETURN QUERY
    SELECT new.id, job.job_id, false
      FROM unnest(job_ids, types, enqueue_many.uniqueness) AS new (id, type, uniqueness)
      JOIN job_executions AS job
        ON job.unique_key = new.uniqueness ->> 'key'
       AND CASE WHEN job.job_type <> new.type THEN false
                WHEN job.status = 'processing'
                    THEN job.unique_running AND (new.uniqueness ->> 'running')::boolean
                ELSE true END
     WHERE new.id <> ALL(recorded);
    RETURN QUERY
    SELECT new.id, job.job_id, false
      FROM unnest(job_ids, types, idempotency_keys) AS new (id, type, key)
      JOIN job_executions AS job ON job.job_type = new.type AND job.idempotency_key = new.key
     WHERE new.key IS NOT NULL
       AND NOT EXISTS (SELECT FROM unnest(recorded) AS made (id) WHERE made.id = new.id);
END
$$;
