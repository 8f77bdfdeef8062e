"""Enqueue: a job's row, and its message to QStash."""
