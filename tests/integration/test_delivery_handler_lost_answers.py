"""Postgres has done what it was asked, and its answer is lost: what was claimed is run once, and
what was completed counts as completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from infra.local.chaos.lost_answers import LosingAnswers
from stashjobs.store import database, executions
from stashjobs.store.executions import Lease
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Answer, Table, deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs import Context, Job
    from tests.integration.conftest import Log

CLAIM, COMPLETE, COMMIT = b"stashjobs.claim", b"stashjobs.complete", b"COMMIT"


class Network:
    """Loses the answers to the next statements that contain these words."""

    def __init__(self) -> None:
        self.losing: list[bytes] = []

    def loses(self, data: bytes) -> bool:
        found = next((words for words in self.losing if words in data), None)
        if found is not None:
            self.losing.remove(found)
        return found is not None


@pytest.fixture
def network(database_url: str, settings: pytest.MonkeyPatch) -> Iterator[Network]:
    found, port = Network(), urlsplit(database_url).port
    assert port is not None
    with LosingAnswers(port, found.loses) as proxy:
        settings.setenv("POSTGRES_URL", database_url.replace(f":{port}/", f":{proxy.port}/"))
        yield found
        database.close()


def counts(output: str, name: str) -> int:
    """How often a metric was written."""
    return output.count(f'"{name}":[1.0]')


class Work:
    """A job's function that counts its runs."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    def __call__(self, _payload: Any, context: Context) -> str:
        self.attempts.append(context.attempt)
        return "done"


# --- the claim


@pytest.mark.parametrize("retries", [0, 2])
def test_a_claim_whose_answer_was_lost_is_found_by_its_delivery_and_runs(
    table: Table, network: Network, retries: int
) -> None:
    work = Work()
    job = probe(work, retries=retries)
    job_id = table.add(job)
    network.losing = [CLAIM]
    assert deliver(job, job_id).status == 200
    row = table.row(job_id)
    assert (row["status"], row["attempt"], row["errors"]) == ("completed", 1, [])
    assert work.attempts == [1]


def test_a_message_with_its_payload_finds_its_claim_too(table: Table, network: Network) -> None:
    work = Work()
    job = probe(work, retries=0)
    message = {"jobId": "j1", "type": job.type, "payload": {}}
    network.losing = [CLAIM]
    assert handle(job, delivery(message)).status == 200
    assert table.row("j1")["attempt"] == 1
    assert work.attempts == [1]


def test_a_delivery_that_never_heard_leaves_its_claim_to_the_next_one_of_its_message(
    table: Table, network: Network, settings: pytest.MonkeyPatch
) -> None:
    settings.setattr(database, "PAUSES", (0.0,))
    work = Work()
    job = probe(work, retries=0)
    job_id = table.add(job)
    network.losing = [CLAIM, CLAIM]
    assert deliver(job, job_id).status == 503
    assert table.status(job_id) == "processing"
    table.expire_lease(job_id)
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["attempt"] == 1
    assert work.attempts == [1]


def test_another_message_does_not_find_the_claim(
    table: Table, network: Network, settings: pytest.MonkeyPatch
) -> None:
    settings.setattr(database, "PAUSES", (0.0,))
    work = Work()
    job = probe(work)
    job_id = table.add(job)
    network.losing = [CLAIM, CLAIM]
    message = {"jobId": job_id, "type": job.type}
    assert handle(job, delivery(message, message_id="msg_1")).status == 503
    assert handle(job, delivery(message, message_id="msg_2")).status == 409
    assert work.attempts == []


def test_the_same_message_delivered_twice_at_once_is_claimed_once(table: Table) -> None:
    job = probe()
    job_id = table.add(job)

    def claim(nonce: str | None) -> bool | None:
        lease = Lease(20, "msg_1", None, nonce)
        found = executions.claim(table.other, job_id=job_id, job_type=job.type, lease=lease)
        return found.held if found else None

    assert claim("a") is True
    assert claim("b") is False
    assert claim(None) is False
    assert claim("a") is True
    table.expire_lease(job_id)
    assert claim("b") is True
    assert table.row(job_id)["attempt"] == 2
    assert claim("a") is False


def test_the_claims_of_the_version_before_are_taken_over_when_their_lease_ends(
    table: Table,
) -> None:
    job = probe()
    job_id = table.add(job)
    for attempt in (1, 2):
        lease = Lease(20, "msg_1", None)
        found = executions.claim(table.other, job_id=job_id, job_type=job.type, lease=lease)
        assert found is not None
        assert (found.held, found.attempt) == (True, attempt)
        table.expire_lease(job_id)


def test_a_claim_of_release_0_1_hides_the_one_before_it(table: Table) -> None:
    """It knows no nonce, and leaves the one that is there."""
    job = probe()
    job_id = table.add(job)
    lease = Lease(20, "msg_1", None, "a")
    executions.claim(table.other, job_id=job_id, job_type=job.type, lease=lease)
    table.run("UPDATE job_executions SET attempt = attempt + 1 WHERE job_id = %s", job_id)
    found = executions.claim(table.other, job_id=job_id, job_type=job.type, lease=lease)
    assert found is not None
    assert not found.held


# --- the completion


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Job[Any, Any]:
    """A job that this process knows how to publish."""
    job = probe(type="child")
    monkeypatch.setattr("stashjobs.producer.publish.find", lambda _type: job)
    return job


@pytest.fixture
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


def in_transaction(_payload: Any, context: Context) -> str:
    context.connection.execute("CREATE TABLE effects AS SELECT 1")
    return "done"


def test_a_completion_whose_answer_was_lost_counts_as_completed(
    table: Table, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = table.add(probe())
    network.losing = [COMPLETE]
    assert completed(deliver(probe(Work()), job_id))
    assert table.status(job_id) == "completed"
    output = capsys.readouterr().out
    assert (counts(output, "Completed"), counts(output, "LeaseLost")) == (1, 0)
    assert "AttemptSeconds" in output


def test_a_commit_whose_answer_was_lost_counts_as_completed(
    table: Table, network: Network, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    job = probe(in_transaction)
    job_id = table.add(job)
    network.losing = [COMMIT]
    assert completed(deliver(job, job_id))
    row = table.row(job_id)
    assert (row["status"], row["result"], row["errors"]) == ("completed", "done", [])
    assert len(table.run("SELECT * FROM effects")) == 1
    output = capsys.readouterr().out
    assert (counts(output, "Completed"), counts(output, "LeaseLost")) == (1, 0)
    [line] = [line for line in log.lines if line["message"] == "completed"]
    assert line["duration_ms"] >= 0


@pytest.mark.parametrize("lost", [COMPLETE, COMMIT])
def test_children_are_published_though_the_answer_was_lost(
    table: Table, network: Network, child: Job[Any, Any], qstash: Server, lost: bytes
) -> None:
    def work(_payload: Any, context: Context) -> None:
        if lost is COMMIT:
            context.enqueue(child, {"enqueued": True})

    parent = probe(work)
    job_id = table.add(parent)
    child.enqueue({"waited": True}, connection=table.other, after=[job_id])
    network.losing = [lost]
    assert completed(deliver(parent, job_id))
    children = [row for row in table.rows() if row["job_type"] == "child"]
    assert len(children) == (2 if lost is COMMIT else 1)
    assert all(row["published_at"] is not None for row in children)
    assert len(qstash.messages) == len(children)


def test_what_was_enqueued_in_a_transaction_that_was_undone_is_not_published(
    table: Table, network: Network, child: Job[Any, Any], qstash: Server
) -> None:
    parent = probe(lambda _payload, context: context.enqueue(child, {}).job_id)
    job_id = table.add(parent)
    network.losing = [COMPLETE]
    assert deliver(parent, job_id).status == 500
    assert [row["job_id"] for row in table.rows()] == [job_id]
    assert qstash.messages == []


def test_a_transaction_that_was_not_committed_is_repeated(table: Table, network: Network) -> None:
    """The answer to the completion is lost, so there is no COMMIT."""
    job = probe(in_transaction)
    job_id = table.add(job)
    network.losing = [COMPLETE]
    assert deliver(job, job_id).status == 500
    assert table.status(job_id) == "retrying"
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["attempt"] == 2


def completed(answer: Answer) -> bool:
    return answer.status == 200 and answer.document["status"] == "completed"
