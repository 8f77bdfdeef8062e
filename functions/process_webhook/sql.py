"""The SQL of the table `emails`."""

from __future__ import annotations

# Events arrive in any order. Bad news stands above other news; of two of a kind the later holds.
RECORD_EMAIL = """
-- record_email
INSERT INTO emails AS known
       (email_id, job_id, template, recipients, subject, status, reason, status_at, sent_at)
VALUES (%(email_id)s, %(job_id)s, %(template)s, %(recipients)s, %(subject)s, %(status)s,
        %(reason)s, %(status_at)s, %(sent_at)s)
ON CONFLICT (email_id) DO UPDATE
   SET recipients = EXCLUDED.recipients, status = EXCLUDED.status, reason = EXCLUDED.reason,
       status_at = EXCLUDED.status_at, updated_at = now()
 WHERE (EXCLUDED.status = ANY(%(bad)s), EXCLUDED.status_at)
     > (known.status = ANY(%(bad)s), known.status_at)
RETURNING true
"""
