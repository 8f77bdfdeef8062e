"""Webhooks: the signature is verified, the event is recorded as a job, and the source gets 200."""
