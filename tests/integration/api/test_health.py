"""Health and metrics, in the deployment guide's shape, made right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs.operators import health as health_of_jobs
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table

PROBE = probe()


@pytest.fixture
def operator(caller: Callable[..., TestClient]) -> TestClient:
    return caller("read")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.parametrize("query", ["", "?x=1", "?x=1&x=2&cache=%00"])
def test_uptime_checks_may_ask_with_head_and_any_parameter(
    anonymous: TestClient, path: str, query: str
) -> None:
    whole, head = anonymous.get(path + query), anonymous.head(path + query)
    assert (whole.status_code, whole.json()["status"]) == (200, "ok")
    now = datetime.fromisoformat(whole.json()["now"])
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
    assert (head.status_code, head.content) == (200, b"")
    assert anonymous.post(path).status_code == 405


def jobs(table: Table, *, completed: int = 0, failed: int = 0, age: str = "1 minute") -> None:
    for status, count in (("completed", completed), ("failed", failed)):
        table.run(
            """INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, attempt,
                                           created_at, started_at, completed_at)
               SELECT gen_random_uuid()::text, 'probe', %s, '{}', 1, 1, now() - %s::interval,
                      now() - %s::interval, now() - %s::interval + interval '2 s'
                 FROM generate_series(1, %s)""",
            status,
            age,
            age,
            age,
            count,
        )


def health(operator: TestClient) -> dict[str, Any]:
    answer = operator.get("/api/admin/job-health")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def test_without_jobs_the_system_is_idle_and_nothing_is_divided_by_zero(
    operator: TestClient,
) -> None:
    assert health(operator) == {
        "stats": [],
        "failureRate": None,
        "totalJobs": 0,
        "averageSeconds": None,
        "p95Seconds": None,
        "stuck": 0,
        "health": "idle",
        "exact": True,
    }


def test_the_failure_rate_is_a_rate(operator: TestClient, table: Table) -> None:
    jobs(table, completed=6, failed=2)
    document = health(operator)
    assert document["failureRate"] == 0.25
    assert document["totalJobs"] == 8
    assert document["stats"] == [
        {"status": "completed", "count": 6},
        {"status": "failed", "count": 2},
    ]
    assert document["averageSeconds"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("failed", "expected"), [(0, "healthy"), (5, "healthy"), (6, "unhealthy"), (100, "unhealthy")]
)
def test_more_than_5_percent_failed_is_unhealthy(
    operator: TestClient, table: Table, failed: int, expected: str
) -> None:
    jobs(table, completed=100 - failed, failed=failed)
    assert health(operator)["health"] == expected


def test_the_threshold_is_a_setting(
    operator: TestClient, table: Table, settings: pytest.MonkeyPatch
) -> None:
    jobs(table, completed=8, failed=2)
    assert health(operator)["health"] == "unhealthy"
    settings.setenv("HEALTH_FAILURE_PERCENT", "20")
    assert health(operator)["health"] == "healthy"


def test_what_is_older_than_the_window_does_not_count(operator: TestClient, table: Table) -> None:
    jobs(table, failed=3, age="2 hours")
    assert health(operator)["totalJobs"] == 0


def test_an_attempt_that_runs_too_long_is_stuck_however_old_the_job(
    operator: TestClient, table: Table
) -> None:
    job_id = table.add(PROBE)
    for minutes, stuck in (("9", 0), ("11", 1)):
        table.run(
            """UPDATE job_executions SET status = 'processing', lease_expires_at = now(),
                      created_at = now() - interval '3 days',
                      started_at = now() - make_interval(mins => %s::int) WHERE job_id = %s""",
            minutes,
            job_id,
        )
        document = health(operator)
        assert (document["stuck"], document["health"]) == (stuck, ["idle", "unhealthy"][stuck])


def test_metrics_tell_each_type_apart(operator: TestClient, table: Table) -> None:
    jobs(table, completed=3, failed=1)
    table.add(probe(type="other"))
    document = operator.get("/api/admin/job-metrics").json()
    assert document["totalJobs"] == 5
    assert document["windowSeconds"] == 3600
    assert document["types"]["probe"]["failureRate"] == 0.25
    assert document["types"]["other"]["stats"] == [{"status": "pending", "count": 1}]
    assert document["types"]["other"]["failureRate"] is None


def test_one_type_can_be_asked_for_alone(operator: TestClient, table: Table) -> None:
    jobs(table, completed=1, failed=1)
    path = "/api/admin/job-health"
    assert operator.get(path, params={"type": "probe"}).json()["failureRate"] == 0.5
    assert operator.get(path, params={"type": "send-email"}).json()["health"] == "idle"
    assert operator.get(path, params={"type": "no-such-type"}).status_code == 404


def test_metrics_tell_the_thresholds(operator: TestClient, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("HEALTH_FAILURE_PERCENT", "20")
    settings.setenv("HEALTH_STUCK_SECONDS", "60")
    document = operator.get("/api/admin/job-metrics").json()
    assert document["thresholds"] == {"failureRate": 0.2, "stuckSeconds": 60}


def test_of_a_busy_window_the_newest_jobs_are_told_and_it_says_so(
    operator: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_of_jobs, "SAMPLE", 4)
    jobs(table, completed=6, age="10 minutes")
    assert health(operator)["exact"] is False
    jobs(table, failed=3, age="1 minute")
    document = health(operator)
    assert (document["totalJobs"], document["failureRate"]) == (4, 0.75)


def test_a_type_has_a_sample_of_its_own(
    operator: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_of_jobs, "SAMPLE", 3)
    jobs(table, failed=2, age="10 minutes")
    table.run("UPDATE job_executions SET job_type = 'send-email'")
    jobs(table, completed=5)
    answer = operator.get("/api/admin/job-health", params={"type": "send-email"}).json()
    assert (answer["totalJobs"], answer["exact"]) == (2, True)
