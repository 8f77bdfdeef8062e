-- Jobs that wait for others (docs/composition.md).

ALTER TABLE job_executions DROP CONSTRAINT job_executions_status_check;
ALTER TABLE job_executions ADD CONSTRAINT job_executions_status_check
    CHECK (status IN ('waiting', 'pending', 'processing', 'retrying',
                      'completed', 'failed', 'cancelled')) NOT VALID;
ALTER TABLE job_executions VALIDATE CONSTRAINT job_executions_status_check;

CREATE TABLE job_dependencies (
    job_id     text COLLATE "C" NOT NULL,
    parent_id  text COLLATE "C" NOT NULL CHECK (parent_id <> job_id),
    position   integer NOT NULL,          -- among the job's parents, as they were given
    required   text NOT NULL CHECK (required IN ('completed', 'ended')),
    open       boolean NOT NULL DEFAULT true,  -- the parent has not ended yet

    PRIMARY KEY (job_id, parent_id)
);
CREATE INDEX idx_job_dependencies_parent ON job_dependencies (parent_id);
CREATE INDEX idx_job_dependencies_open ON job_dependencies (job_id) WHERE open;

-- For the relay's look at those that nobody released.
CREATE INDEX idx_job_executions_waiting ON job_executions (job_id) WHERE status = 'waiting';

CREATE OR REPLACE FUNCTION job_executions_refuse_illegal_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('waiting', 'pending'), ('waiting', 'cancelled'),
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
