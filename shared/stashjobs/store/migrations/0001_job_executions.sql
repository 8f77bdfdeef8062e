-- One row is one job, from enqueue to its end. The message that travels through QStash is thin;
-- this row is the truth (docs/concepts.md).

CREATE TABLE job_executions (
    -- UUIDv7 for jobs of ours; text, because a producer of another make may bring an id of its own.
    job_id            text COLLATE "C" PRIMARY KEY CHECK (length(job_id) BETWEEN 1 AND 128),
    job_type          text NOT NULL,
    status            text NOT NULL DEFAULT 'pending'
                      CHECK (status IN ('pending', 'processing', 'retrying',
                                        'completed', 'failed', 'cancelled')),
    payload           jsonb NOT NULL,
    result            jsonb,
    error             text,              -- why it is retrying, failed or cancelled
    errors            jsonb NOT NULL DEFAULT '[]',  -- one object per attempt that did not complete
    attempt           integer NOT NULL DEFAULT 0,   -- the fencing token: grows with every claim
    max_attempts      integer NOT NULL CHECK (max_attempts >= 1),
    attempts_before_run  integer NOT NULL DEFAULT 0,  -- what earlier runs had used up
    retry_count       integer NOT NULL GENERATED ALWAYS AS (greatest(attempt - 1, 0)) STORED,
    run               integer NOT NULL DEFAULT 1,   -- grows with every manual retry of a finished job
    progress          jsonb,
    user_id           text,
    organization_id   text,
    metadata          jsonb NOT NULL DEFAULT '{}',
    idempotency_key   text,
    delivery          jsonb NOT NULL DEFAULT '{}',  -- what this job asked of QStash beyond its type's defaults
    message_id        text,              -- QStash's id of the last message seen for this job
    dlq_id            text,              -- where QStash put that message when it gave up on it
    schedule_id       text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    available_at      timestamptz NOT NULL DEFAULT now(),  -- not to be delivered before
    published_at      timestamptz,       -- when QStash confirmed the message; NULL: the relay's work
    started_at        timestamptz,       -- of the current attempt
    lease_expires_at  timestamptz,       -- until when the current attempt holds the job
    completed_at      timestamptz,       -- when it ended: completed, failed or cancelled
    updated_at        timestamptz NOT NULL DEFAULT now(),

    CHECK ((status = 'processing') = (lease_expires_at IS NOT NULL)),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL))
);

-- The five of the deployment guide. Users and organizations are often absent: a partial index
-- serves every `= value` query and costs nothing where there is no value.
CREATE INDEX idx_job_executions_status ON job_executions (status);
CREATE INDEX idx_job_executions_created_at ON job_executions (created_at DESC);
CREATE INDEX idx_job_executions_user_id ON job_executions (user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX idx_job_executions_organization_id ON job_executions (organization_id)
    WHERE organization_id IS NOT NULL;
CREATE INDEX idx_job_executions_status_created ON job_executions (status, created_at DESC);

-- A key belongs to its type: `welcome:u_1` of two types are two jobs.
CREATE UNIQUE INDEX idx_job_executions_idempotency_key ON job_executions (job_type, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- What the relay looks for: rows of which QStash was never told, and leases that ran out.
CREATE INDEX idx_job_executions_unpublished ON job_executions (available_at)
    WHERE published_at IS NULL AND status IN ('pending', 'retrying');
CREATE INDEX idx_job_executions_lease ON job_executions (lease_expires_at)
    WHERE status = 'processing';

-- The lifecycle, kept by the database too: no program, and no operator at a prompt, can take a
-- job along a way that does not exist.
CREATE FUNCTION job_executions_refuse_illegal_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('pending', 'processing'), ('pending', 'cancelled'), ('pending', 'failed'),
        ('processing', 'completed'), ('processing', 'retrying'), ('processing', 'failed'),
        ('processing', 'cancelled'),
        ('retrying', 'processing'), ('retrying', 'failed'), ('retrying', 'cancelled'),
        ('completed', 'pending'), ('failed', 'pending'), ('cancelled', 'pending')
    ) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.job_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER job_executions_lifecycle
    BEFORE UPDATE ON job_executions
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION job_executions_refuse_illegal_transition();
