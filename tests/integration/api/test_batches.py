"""How batches stand, and what is done with them, by the API, the dashboard and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from stashjobs import PermanentError, batch
from stashjobs.tools.cli import main
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from stashjobs import Batch
    from tests.deliveries import Table
    from tests.integration.api.dashboards import Browser

PATH = "/api/admin/batches"


def work(payload: dict[str, Any], _context: Any) -> None:
    if payload.get("fail"):
        raise PermanentError("no")


job = probe(work, retries=0)
notify = probe(type="notify")


@pytest.fixture
def made(table: Table) -> Batch:
    """One done, one failed, one waiting."""
    with batch("import of <May>", on_ended=notify, connection=table.other) as new:
        done, failed, _ = new.enqueue_many(job, [{}, {"fail": True}, {}])
    deliver(job, done.job_id)
    deliver(job, failed.job_id)
    return new


def test_the_api_says_how_batches_stand(caller: Callable[..., TestClient], made: Batch) -> None:
    app = caller("read", "operate", name="ada")
    shown = app.get(f"{PATH}/{made.batch_id}").json()
    assert (shown["name"], shown["done"], shown["failed"], shown["waiting"], shown["onEnded"]) == (
        "import of <May>",
        1,
        1,
        1,
        "waiting",
    )
    assert app.get(PATH).json() == {"batches": [shown]}
    assert app.get(f"{PATH}/none").status_code == 404
    assert app.get(PATH, params={"limit": 0}).status_code == 422
    listed = app.get("/api/jobs", params={"batchId": made.batch_id}).json()["jobs"]
    assert [one["batchId"] for one in listed] == [made.batch_id] * 3
    which = {"batchId": made.batch_id}
    failed = app.post("/api/admin/jobs/retry", json=which | {"status": "failed"}).json()
    assert failed["count"] == 1
    assert app.post("/api/admin/jobs/cancel", json=which).json()["count"] == 2


def test_who_may_not_read_sees_no_batch(caller: Callable[..., TestClient], made: Batch) -> None:
    assert caller("enqueue").get(f"{PATH}/{made.batch_id}").status_code == 403


def test_http_adds_to_a_batch(caller: Callable[..., TestClient], made: Batch) -> None:
    app = caller("enqueue", "operate", "read", name="ada")
    new = {"type": "cleanup-old-data", "payload": {}, "batch": made.batch_id}
    assert app.post("/api/jobs", json=new).status_code == 202
    assert app.get(f"{PATH}/{made.batch_id}").json()["waiting"] == 2
    refused = app.post("/api/jobs", json=new | {"batch": "none"})
    assert (refused.status_code, "batch: there is no batch none" in refused.text) == (422, True)


JOB = {"type": "cleanup-old-data", "payload": {}}


def test_http_makes_a_batch(caller: Callable[..., TestClient], table: Table) -> None:
    app = caller("enqueue", "operate", "read", name="ada")
    new = {"batch": {"name": "import", "onEnded": JOB}, "jobs": [JOB, JOB]}
    answer = app.post("/api/jobs", json=new)
    assert answer.status_code == 202
    batch_id = answer.json()["batchId"]
    assert [one["created"] for one in answer.json()["jobs"]] == [True, True]
    shown = app.get(f"{PATH}/{batch_id}").json()
    assert (shown["name"], shown["waiting"], shown["onEnded"]) == ("import", 2, "waiting")
    assert {row["enqueued_by"] for row in table.rows()} == {"ada"}
    for one in answer.json()["jobs"]:
        app.post(f"/api/jobs/{one['jobId']}/cancel")
    assert table.status(batch_id) == "pending"


def test_a_batch_that_is_sent_again_is_the_same(
    caller: Callable[..., TestClient], table: Table
) -> None:
    app = caller("enqueue", "operate", name="ada")
    new = {"batch": {"name": "import", "onEnded": JOB}, "jobs": [JOB]}
    first, again = (
        app.post("/api/jobs", json=new, headers={"Idempotency-Key": "k"}).json() for _ in range(2)
    )
    assert again["batchId"] == first["batchId"]
    assert again["jobs"] == [{**first["jobs"][0], "created": False, "published": False}]
    assert len(table.rows()) == 2


@pytest.mark.parametrize(
    ("new", "status", "words"),
    [
        ({"batch": {"name": ""}, "jobs": [JOB]}, 422, "batch.name"),
        ({"batch": {"name": "a\nb"}, "jobs": [JOB]}, 422, "name is"),
        ({"batch": {"name": "a", "onEnded": {"type": "none"}}, "jobs": [JOB]}, 404, "none"),
        (
            {"batch": {"name": "a", "onEnded": {**JOB, "after": ["x"]}}, "jobs": [JOB]},
            422,
            "batch.onEnded.after",
        ),
        ({"batch": {"name": "a"}, "jobs": [{**JOB, "batch": "b"}]}, 422, "jobs.0.batch"),
        (
            {"batch": {"name": "a", "onEnded": {"type": "process-webhook"}}, "jobs": [JOB]},
            403,
            "process-webhook",
        ),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(
    caller: Callable[..., TestClient], table: Table, new: dict[str, Any], status: int, words: str
) -> None:
    answer = caller("enqueue", "operate", name="ada").post("/api/jobs", json=new)
    assert (answer.status_code, words in answer.text) == (status, True)
    assert table.rows() == []


@pytest.fixture
def operator(browser: Browser, token: Callable[..., str]) -> Browser:
    browser.sign_in(token("read", "operate", name="ada"))
    return browser


def test_the_page_of_a_batch_shows_a_bar_and_what_can_be_done(
    operator: Browser, made: Batch, table: Table
) -> None:
    assert "import of <May>" in operator.get("/admin/batches").words
    page = operator.get(f"/admin/batches/{made.batch_id}")
    assert "1 done 1 failed or cancelled 1 waiting or running" in page.words
    assert page.text.count('<rect class="bar bar-') == 3
    assert f"/admin/jobs?batch={made.batch_id}&amp;status=failed" in page.text
    live = operator.get(f"/admin/live/batches/{made.batch_id}")
    assert "1 done" in live.words
    assert operator.get("/admin/batches/none").status == 404
    fields = {"batch": made.batch_id, "every": "ask"}
    asked = operator.post("/admin/jobs/retry", fields | {"status": "failed"})
    assert "Retry 1 job?" in asked.words
    operator.post("/admin/jobs/retry", fields | {"status": "failed", "every": "confirmed"})
    operator.get(f"/admin/batches/{made.batch_id}")
    operator.post("/admin/jobs/cancel", fields | {"every": "confirmed"})
    statuses = table.run(
        "SELECT status FROM job_executions WHERE batch_id = %s ORDER BY job_id", made.batch_id
    )
    assert [row["status"] for row in statuses] == ["completed", "cancelled", "cancelled"]


def test_the_page_of_a_job_draws_its_parents_children_and_batch(
    operator: Browser, made: Batch, table: Table
) -> None:
    child = job.enqueue({}, after=[made.batch_id], connection=table.other).job_id
    page = operator.get(f"/admin/jobs/{made.batch_id}")
    assert page.text.count('class="graph-node"') == 4
    assert f'href="/admin/jobs/{child}"' in page.text
    assert f'href="/admin/batches/{made.batch_id}"' in page.text
    assert "Runs at the end of its batch" in page.words
    [member, *_] = table.run("SELECT job_id FROM job_executions WHERE batch_id IS NOT NULL")
    assert "Part of the batch" in operator.get(f"/admin/jobs/{member['job_id']}").words
    assert "Graph" in operator.get(f"/admin/live/jobs/{child}").words


def test_a_job_of_very_many_parents_is_drawn_with_those_that_did_not_complete(
    operator: Browser, table: Table
) -> None:
    parents = job.enqueue_many([{}] * 11 + [{"fail": True}], connection=table.other)
    for each in parents:
        deliver(job, each.job_id)
    child = job.enqueue({}, after=parents, when="ended", connection=table.other).job_id
    page = operator.get(f"/admin/jobs/{child}")
    assert "and 4 more" in page.words
    assert f'href="/admin/jobs/{parents[-1].job_id}"' in page.text


def test_a_job_on_its_own_has_no_picture(operator: Browser, table: Table) -> None:
    job_id = job.enqueue({}, connection=table.other).job_id
    assert "Graph" not in operator.get(f"/admin/jobs/{job_id}").words


def test_the_command_line_says_how_batches_stand(
    made: Batch, table: Table, use_qstash: Callable[[str], None]
) -> None:
    use_qstash("http://127.0.0.1:1")

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, arguments)

    [listed] = json.loads(run("batches", "--json").stdout)
    shown = json.loads(run("batches", made.batch_id, "--json").stdout)
    assert listed == shown
    assert (shown["done"], shown["failed"], shown["waiting"]) == (1, 1, 1)
    assert "import of <May>" in run("batches").output
    added = run("enqueue", "cleanup-old-data", "{}", "--batch", made.batch_id, "--json")
    assert table.row(json.loads(added.stdout)["jobId"])["batch_id"] == made.batch_id
    refused = run("enqueue", "cleanup-old-data", "{}", "--batch", "none")
    assert (refused.exit_code, "there is no batch none" in refused.output) == (2, True)
    missing = run("batches", "none")
    assert (missing.exit_code, "there is no batch none" in missing.output) == (1, True)
    assert len(json.loads(run("list", "--batch", made.batch_id, "--json").stdout)) == 4
    retried = run("retry", "--batch", made.batch_id, "--json")
    assert json.loads(retried.stdout) == {"retried": 1}
    assert json.loads(run("cancel", "--batch", made.batch_id, "--json").stdout) == {"cancelled": 3}
    assert table.status(made.batch_id) == "pending"
