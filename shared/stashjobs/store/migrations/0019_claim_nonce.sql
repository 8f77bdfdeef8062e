-- Which delivery holds the lease: its own word, made anew for each, so that one that did not hear the
-- answer to its claim finds it.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS claim_nonce text;
