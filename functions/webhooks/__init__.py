"""Senders' webhooks: who sent it is proven, it is recorded as a job, and the sender has its 200."""
