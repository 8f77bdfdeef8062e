-- Jobs that wait for others (docs/composition.md).

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
