-- What became of each email, from Resend's webhooks (docs/webhooks.md). The rows are made by the
-- events alone: sending costs nothing more, and an email of another sender's has one too.

CREATE TABLE emails (
    email_id    text COLLATE "C" PRIMARY KEY,  -- Resend's; also in the send-email job's result
    job_id      text COLLATE "C",  -- the job that sent it. No foreign key: jobs are cleaned up
    template    text,
    recipients  text[] NOT NULL,   -- whom the status is about
    subject     text NOT NULL,
    status      text NOT NULL
                CHECK (status IN ('sent', 'delayed', 'delivered', 'bounced', 'complained',
                                  'failed', 'suppressed')),
    reason      text,              -- why it did not arrive
    status_at   timestamptz NOT NULL,  -- when that happened, by Resend's clock
    sent_at     timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idx_emails_job_id ON emails (job_id) WHERE job_id IS NOT NULL;
-- The ones to look at.
CREATE INDEX idx_emails_undelivered ON emails (status_at DESC)
    WHERE status IN ('bounced', 'complained', 'failed', 'suppressed');
