"""Deliveries as QStash makes them, and the table as an operator sees it."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import DictRow, dict_row

from stashjobs.delivery import handler
from stashjobs.ids import new_job_id
from stashjobs.job import Job
from stashjobs.store import executions
from stashjobs.store.executions import NewJob
from stashjobs.testing import deliveries
from stashjobs.testing.deliveries import Answer, LambdaContext, lambda_context, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stashjobs.job_type import JobType

__all__ = [
    "URL",
    "Answer",
    "LambdaContext",
    "Table",
    "deliver",
    "delivery",
    "handle",
    "http_event",
    "lambda_context",
    "probe",
    "sign",
]

URL = "https://jobs.example.test/api/jobs/probe"


def probe(
    function: Callable[..., Any] = lambda payload, _context: payload,
    *,
    type: str = "probe",  # noqa: A002
    retries: int = 2,
    timeout: float = 20,
    retry_delay: str | None = None,
    rate: int | tuple[int, str] | None = None,
    parallelism: int | None = None,
    on_failed: Job[Any, Any] | None = None,
) -> Job[Any, Any]:
    """A job type that no registry knows. By default its result is its payload."""
    return Job(
        function,
        type=type,
        endpoint=f"/api/jobs/{type}",
        retries=retries,
        timeout=timeout,
        retry_delay=retry_delay,
        rate=rate,
        parallelism=parallelism,
        on_failed=on_failed,
    )


def sign(body: bytes, url: str = URL, *, key: str | None = None, age: float = 0) -> str:
    """`Upstash-Signature`, made `age` seconds ago."""
    return deliveries.sign(body, url, key=key, age=age)


def http_event(
    body: bytes,
    headers: Mapping[str, str],
    *,
    path: str = "/api/jobs/probe",
    domain: str = "jobs.example.test",
) -> dict[str, Any]:
    """An event of API Gateway's payload format 2.0."""
    return deliveries.http_event(f"https://{domain}{path}", body, headers)


def delivery(
    message: object, *, message_id: str | None = "msg_1", **headers: str
) -> dict[str, Any]:
    """A signed delivery. `message` is the JSON document, or the body's bytes."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    known = {} if message_id is None else {"upstash-message-id": message_id}
    return http_event(body, {"upstash-signature": sign(body), **known, **headers})


def handle(job: Job[Any, Any], event: Mapping[str, Any], context: Any = None) -> Answer:
    """Hand an event to a job's Lambda."""
    said = handler.deliver(job, event, context or lambda_context())
    assert said["isBase64Encoded"] is False
    assert said["headers"]["content-type"] == "application/json"
    return read_answer(said)


def deliver(job: Job[Any, Any], job_id: str, *, seconds: float = 60) -> Answer:
    """Deliver the thin message of a recorded job."""
    message = {"jobId": job_id, "type": job.type}
    return handle(job, delivery(message), lambda_context(seconds))


class Table:
    """`job_executions`, over connections of its own, which are opened where they are used: a
    session costs more than what most tests do in it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened = ExitStack()

    @cached_property
    def connection(self) -> psycopg.Connection[DictRow]:
        """In autocommit; rows are dictionaries."""
        connection = psycopg.connect(self._url, autocommit=True, row_factory=dict_row)
        self._opened.callback(connection.close)
        return connection

    @cached_property
    def other(self) -> psycopg.Connection[Any]:
        """What another worker would have; the first delivery of a test finds no open connection."""
        connection = psycopg.connect(self._url, autocommit=True)
        self._opened.callback(connection.close)
        return connection

    def close(self) -> None:
        """End its sessions."""
        self._opened.close()

    def add(self, job: JobType[Any, Any], payload: Any = None, **fields: Any) -> str:
        """Record a pending job and tell its id."""
        new = NewJob(
            **(
                {
                    "job_id": new_job_id(),
                    "job_type": job.type,
                    "payload": {} if payload is None else payload,
                    "max_attempts": job.retries + 1,
                }
                | fields
            )
        )
        return executions.record_new_jobs(self.other, [new])[0].job_id

    def row(self, job_id: str) -> dict[str, Any]:
        [row] = self.run("SELECT * FROM job_executions WHERE job_id = %s", job_id)
        return row

    def status(self, job_id: str) -> str:
        status: str = self.row(job_id)["status"]
        return status

    def rows(self) -> list[dict[str, Any]]:
        return self.run("SELECT * FROM job_executions ORDER BY job_id")

    def run(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def expire_lease(self, job_id: str) -> None:
        """As if the lease had run out a moment ago."""
        self.run(
            "UPDATE job_executions SET lease_expires_at = now() - interval '3 s' WHERE job_id = %s",
            job_id,
        )

    def make_due(self, job_id: str) -> None:
        """As if the time of its next attempt had come."""
        self.run("UPDATE job_executions SET available_at = now() WHERE job_id = %s", job_id)

    def end_sessions(self) -> int:
        """The server drops every connection of stashjobs to this database."""
        ending = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
            "datname = current_database() AND application_name = 'stashjobs'"
        )
        ended = len(self.run(ending))
        while self.run(ending):
            time.sleep(0.001)
        return ended
