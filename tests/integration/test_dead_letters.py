"""QStash's dead-letter queue as an operator sees it: listed, deleted, and cleared by a retry."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient

from functions.api.app import app
from stashjobs import Context, NotPossible, job
from stashjobs.operators import access, dead_letters, retry_and_cancel
from stashjobs.producer import dead_letters as producer_dead_letters
from stashjobs.producer import qstash_client
from stashjobs.recovery import dead_letters as recovery
from stashjobs.recovery import relay
from stashjobs.tools.cli import main
from tests.integration.api.dashboards import HOST, Browser
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deliveries import Table


@job("dead-lettered", endpoint="/api/jobs/dead-lettered", retries=0)
def dead_lettered(_payload: Any, _context: Context) -> None:
    """Nobody delivers it."""


@pytest.fixture(autouse=True)
def _qstash(
    table: Table, settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    del table
    monkeypatch.setattr(recovery, "_looked_at", None)
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        settings.setenv("BASE_URL", "http://127.0.0.1:9")  # where nobody answers
        yield
        qstash_client.close()


def listed() -> list[dead_letters.Listed]:
    """Those of jobs. Nobody answers the failure callbacks either, so there are others."""
    return [each for each in dead_letters.list_all() if each.job_id is not None]


def dead(number: int) -> None:
    """Until so many messages are dead-lettered, and the rows know it."""
    for _ in range(600):
        if len(qstash_client.qstash().dlq.list().messages) == number:
            break
        time.sleep(0.05)
    recovery.reconcile(time.time() + 60)


def enqueue_dead(table: Table, number: int) -> list[str]:
    ids = [dead_lettered.enqueue({}).job_id for _ in range(number)]
    # The relay has patience with silence, an operator has none here.
    table.run("UPDATE job_executions SET available_at = now() - interval '2 d'")
    return ids


def test_they_are_listed_with_what_became_of_their_jobs(table: Table) -> None:
    failed, done = enqueue_dead(table, 2)
    # Another app of the same account.
    qstash_client.qstash().message.publish(url="http://127.0.0.1:8/", body="x", retries=0)
    dead(5)
    retry = "SELECT stashjobs.retry(job_ids => ARRAY[%s], actor => 'ada')"
    table.run(retry, done)  # without taking its dead letter out
    retry_and_cancel.cancel(done, actor="ada")
    assert {each.job_id: each.status for each in listed()} == {failed: "failed", done: "cancelled"}
    assert dead_letters.summary(dead_letters.list_all()) == (
        "4 messages in QStash's dead-letter queue, of 2 jobs: 1 cancelled, 1 failed; "
        "2 of no job that has a row"
    )


def test_those_beyond_the_first_page_are_listed_and_deleted_too(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_dead_letters, "PAGE", 2)
    ids = enqueue_dead(table, 3)
    dead(6)
    found = listed()
    assert {each.job_id for each in found} == set(ids)
    producer_dead_letters.delete([each.dlq_id for each in found])
    assert listed() == []


def test_a_retry_takes_the_dead_letter_out(table: Table) -> None:
    [job_id] = enqueue_dead(table, 1)
    dead(2)
    [before] = listed()
    assert table.row(job_id)["dlq_id"] == before.dlq_id
    retry_and_cancel.retry(job_id, actor="ada")
    assert before.dlq_id not in [each.dlq_id for each in listed()]


def test_so_does_the_relay_when_it_publishes_a_job_again(table: Table) -> None:
    job_id = dead_lettered.enqueue({}).job_id
    dead(2)
    [before] = listed()
    row = table.row(job_id)  # within the patience for silence
    assert (row["status"], row["dlq_id"], row["published_at"]) == ("pending", before.dlq_id, None)
    relay.publish_unpublished(relay.Report(), time.time() + 60, 0)
    assert table.row(job_id)["published_at"] is not None
    assert before.dlq_id not in [each.dlq_id for each in listed()]


def test_they_are_deleted_with_a_record_and_their_jobs_stay(table: Table) -> None:
    ids = enqueue_dead(table, 3)
    dead(6)
    first, *_ = listed()
    with pytest.raises(NotPossible, match="there is no dead letter none of this stage"):
        dead_letters.delete([first.dlq_id, "none"], actor="ada")
    assert dead_letters.delete([first.dlq_id], actor="ada") == 1
    assert table.row(str(first.job_id))["dlq_id"] is None
    assert dead_letters.delete_all(actor="bob") == 5
    assert dead_letters.list_all() == []
    assert {table.status(each) for each in ids} == {"failed"}
    done = table.run("SELECT actor, action, job_id FROM job_actions ORDER BY action_id")
    assert {each["action"] for each in done} == {"delete dead letter"}
    assert [each["actor"] for each in done] == ["ada", *["bob"] * 5]
    assert set(ids) < {each["job_id"] for each in done}
    assert recovery.reconcile(time.time() + 60) == 0


def test_the_command_line_lists_and_deletes_them(table: Table) -> None:
    [job_id] = enqueue_dead(table, 1)
    dead(2)
    rows = json.loads(run("list", "--json").output)
    [of_job] = [row for row in rows if row["jobId"] == job_id]
    assert (of_job["type"], of_job["status"], of_job["answer"]) == ("dead-lettered", "failed", None)
    assert "2 messages in QStash's dead-letter queue, of 1 job: 1 failed" in run("list").output
    assert "Delete them?" in run("delete", "--all", stdin="n\n").output
    for wrong in ((), ("--all", of_job["dlqId"])):
        assert run("delete", *wrong).exit_code == 2
    assert run("delete", "none").exit_code == 1
    assert len(dead_letters.list_all()) == 2
    assert json.loads(run("delete", of_job["dlqId"], "--json").output) == {"deleted": 1}
    assert run("delete", "--all", "--yes").output == "1 message deleted.\n"
    assert run("list").output == "No dead letters.\n"


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["dead-letters", *arguments], input=stdin)


def test_the_api_and_the_page_of_alerts_list_and_delete_them(table: Table) -> None:
    [job_id] = enqueue_dead(table, 1)
    dead(2)
    token = str(access.create_token(table.other, "ada", ["read", "operate"]))
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    answer = client.get("/api/admin/dead-letters").json()
    assert answer["summary"].startswith("2 messages in QStash's dead-letter queue, of 1 job")
    [of_job] = [each for each in answer["deadLetters"] if each["jobId"] == job_id]
    path = "/api/admin/dead-letters/delete"
    assert client.post(path, json={}).status_code == 422
    assert client.post(path, json={"dlqIds": ["none"]}).status_code == 409
    assert client.post(path, json={"dlqIds": [of_job["dlqId"]]}).json()["count"] == 1
    with TestClient(app, base_url=HOST) as page:
        operator = Browser(page)
        operator.sign_in(token)
        found = operator.get("/admin/alerts")
        assert "1 message in QStash's dead-letter queue; 1 of no job" in found.words
        assert 'id="delete-dead-letters"' in found.text
        found = operator.post("/admin/alerts/dead-letters", {})
        assert "0 messages in QStash's dead-letter queue" in found.words
        assert 'id="delete-dead-letters"' not in found.text
        assert "ada delete dead letter" in operator.get("/admin/audit").words
    assert client.post(path, json={"dlqIds": None}).json()["count"] == 0
