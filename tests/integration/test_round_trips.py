"""A delivery costs two round trips to Postgres, counted on the wire."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import stashjobs
from stashjobs import Context
from stashjobs.store import database
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Table, deliver, delivery, handle, lambda_context, probe
from tests.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@stashjobs.job("round-trips", endpoint="/api/jobs/round-trips")
def linked(_payload: dict[str, Any], _context: Context) -> None:
    """Known by its type, so that it is published when another job releases it."""


@pytest.fixture
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


@contextmanager
def counted_round_trips() -> Iterator[list[str]]:
    """The ReadyForQuery messages on the worker's connection: each ends one wait for the server."""
    connection = database.connection()
    answers: list[str] = []
    with tempfile.NamedTemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        yield answers
        assert database.connection() is connection
        connection.pgconn.untrace()
        lines = Path(trace.name).read_text().splitlines()
    answers.extend(line for line in lines if "\tReadyForQuery" in line)


def fail(_payload: Any, _context: Context) -> None:
    raise OSError("no")


def test_the_counter_counts(table: Table) -> None:
    with counted_round_trips() as trips:
        for _ in range(3):
            database.connection().execute("SELECT %s", [1])
    assert len(trips) == 3


def test_a_job_that_succeeds_costs_two(table: Table) -> None:
    job = probe()
    job_id = table.add(job, {"n": 1})
    with counted_round_trips() as trips:
        assert deliver(job, job_id).status == 200
    assert len(trips) == 2
    assert all(trip.endswith("I") for trip in trips)  # idle: no transaction was left open


def test_a_job_that_fails_costs_two(table: Table) -> None:
    job_id = table.add(probe())
    with counted_round_trips() as trips:
        assert deliver(probe(fail), job_id).status == 500
    assert len(trips) == 2


def test_a_message_with_its_payload_costs_two(table: Table) -> None:
    with counted_round_trips() as trips:
        message = {"jobId": "node-1", "type": "probe", "payload": {}}
        assert handle(probe(), delivery(message)).status == 200
    assert len(trips) == 2


def test_a_duplicate_costs_one(table: Table) -> None:
    job = probe()
    job_id = table.add(job)
    deliver(job, job_id)
    with counted_round_trips() as trips:
        assert deliver(job, job_id).status == 200
    assert len(trips) == 1


def test_a_delivery_without_a_good_signature_costs_none(table: Table) -> None:
    event = delivery({"jobId": table.add(probe()), "type": "probe"})
    event["body"] += " "
    with counted_round_trips() as trips:
        assert handle(probe(), event).status == 401
    assert trips == []


@pytest.mark.parametrize("statements", [1, 3])
def test_a_transaction_costs_its_begin_and_commit(table: Table, statements: int) -> None:
    def work(_payload: Any, context: Context) -> None:
        for _ in range(statements):
            context.connection.execute("SELECT 1")

    job = probe(work)
    job_id = table.add(job)
    with counted_round_trips() as trips:
        assert deliver(job, job_id).status == 200
    assert len(trips) == 4 + statements


@pytest.mark.parametrize("children", [1, 500])
def test_an_end_that_releases_others_costs_two_more_and_one_publish(
    table: Table, qstash: Server, children: int
) -> None:
    parent = table.add(linked)
    linked.enqueue_many([{}] * children, after=[parent], connection=table.other)
    with counted_round_trips() as trips:
        assert deliver(linked, parent).status == 200
    assert len(trips) == 4  # what is released is read, and confirmed as published
    assert [len(batch.document) for batch in qstash.received] == [children]


def test_each_end_in_a_chain_publishes_the_next(table: Table, qstash: Server) -> None:
    chain = [linked.enqueue({}, connection=table.other)]
    for _ in range(49):
        chain.append(linked.enqueue({}, after=[chain[-1]], connection=table.other))
    for number, link in enumerate(chain):
        assert len(qstash.received) == number
        assert deliver(linked, link.job_id).status == 200
    assert len(qstash.received) == 49


# The startup message, and the two of SCRAM (PostgreSQL docs, "SASL Authentication").
CONNECTING = 3


@pytest.fixture
def network(table: Table, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """What leads to the database; no connection is open yet."""
    with Network.before(database_url) as network:
        monkeypatch.setenv("POSTGRES_URL", network.url_of(database_url))
        yield network
        database.close()


def test_a_new_connection_costs_what_the_protocol_asks(network: Network) -> None:
    database.connection()
    assert network.questions == CONNECTING


def test_a_function_connects_while_it_is_initialised(
    network: Network, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = probe()
    job_id = table.add(job)
    monkeypatch.setenv("_HANDLER", f"{job.function.__module__}.handler")
    handler = job.handler
    assert network.questions == CONNECTING

    assert (
        handler(delivery({"jobId": job_id, "type": job.type}), lambda_context())["statusCode"]
        == 200
    )

    assert network.questions == CONNECTING + 2


def test_a_function_restored_from_a_snapshot_connects_when_it_delivers(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = probe()
    monkeypatch.setenv("_HANDLER", f"{job.function.__module__}.handler")
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    _ = job.handler
    assert network.questions == 0


def test_a_function_is_initialised_without_a_database_and_says_so_when_it_delivers(
    settings: pytest.MonkeyPatch,
) -> None:
    job = probe()
    settings.setenv("_HANDLER", f"{job.function.__module__}.handler")
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    answer = job.handler(delivery({"jobId": "a-job", "type": job.type}), lambda_context())
    assert answer["statusCode"] == 503
