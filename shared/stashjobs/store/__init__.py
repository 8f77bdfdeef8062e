"""Postgres: connections, and the statements on jobs."""
