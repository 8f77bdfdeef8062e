"""`stashjobs smoke`: a job that goes all the way, and one that does not."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs.tools import smoke
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from tests.deliveries import Table
    from tests.integration.doctor.conftest import Aws


def test_an_api_that_is_away_is_an_error_that_names_it(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("SMOKE_TOKEN", "sj_of-a-test")
    settings.setenv("BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(smoke.SmokeError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        smoke.run(smoke.TYPE, {}, seconds=1, logs=Path("/nowhere"))


@pytest.fixture
def producer(table: Table, settings: pytest.MonkeyPatch) -> Table:
    """Enqueue directly, with a QStash that is away."""
    for name in ("SMOKE_TOKEN", "ADMIN_TOKEN"):
        settings.delenv(name, raising=False)
    settings.setenv("QSTASH_TOKEN", "a-token")
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    settings.setattr(smoke, "find", lambda _type: probe())
    return table


def test_a_job_that_is_not_delivered_in_time_fails_and_says_why(producer: Table) -> None:
    outcome = smoke.run("probe", {}, seconds=0.5, logs=Path("/nowhere"))
    assert not outcome.passed
    assert "not published" in outcome.steps[-1].what


# --- in AWS


def delivered(table: Table, settings: pytest.MonkeyPatch) -> None:
    """Have each enqueued job delivered at once."""
    real = smoke.Direct.enqueue

    def enqueue(way: smoke.Direct, job_type: str, payload: Any) -> str:
        job_id = real(way, job_type, payload)
        deliver(probe(), job_id)
        return job_id

    settings.setattr(smoke.Direct, "enqueue", enqueue)


@pytest.fixture
def deployed(producer: Table, aws: Aws, production: pytest.MonkeyPatch) -> Aws:
    """A stack that tells the function of the type `probe`, and its log group."""
    production.setenv("QSTASH_URL", "http://127.0.0.1:9")
    production.setattr(smoke, "ASK_AWS_EVERY_SECONDS", 0.05)
    aws.deploy("", outputs="  ProbeFunctionName: {Value: stashjobs-probe}")
    production.setattr(smoke, "_log_group", lambda name: f"/aws/lambda/{name}")
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="/aws/lambda/stashjobs-probe")
    logs.create_log_stream(logGroupName="/aws/lambda/stashjobs-probe", logStreamName="one")
    delivered(producer, production)
    return aws


def test_in_aws_the_log_and_the_metric_are_looked_for(
    deployed: Aws, production: pytest.MonkeyPatch
) -> None:
    real = smoke._log

    def log(job_type: str, job_id: str, *rest: Any) -> smoke.Step:
        deployed.client("logs").put_log_events(
            logGroupName="/aws/lambda/stashjobs-probe",
            logStreamName="one",
            logEvents=[{"timestamp": int(time.time() * 1000), "message": f'{{"id": "{job_id}"}}'}],
        )
        deployed.client("cloudwatch").put_metric_data(
            Namespace="stashjobs",
            MetricData=[
                {
                    "MetricName": "ProcessedLastHour",
                    "Dimensions": [{"Name": "Stage", "Value": "production"}],
                    "Value": 1,
                    "Timestamp": datetime.now(UTC),
                }
            ],
        )
        return real(job_type, job_id, *rest)

    production.setattr(smoke, "_log", log)
    outcome = smoke.run("probe", {}, seconds=10, logs=Path("/nowhere"))
    assert [(step.name, step.passed) for step in outcome.steps] == [
        ("enqueued", True),
        ("row", True),
        ("log", True),
        ("metric", True),
    ]


def test_a_job_without_a_log_line_or_a_metric_fails(deployed: Aws) -> None:
    outcome = smoke.run("probe", {}, seconds=2, logs=Path("/nowhere"))
    assert [(step.name, step.passed) for step in outcome.steps[-2:]] == [
        ("log", False),
        ("metric", False),
    ]


def test_without_the_stack_the_log_fails_and_says_so(
    deployed: Aws, production: pytest.MonkeyPatch
) -> None:
    production.setenv("STACK_NAME", "of-nobody")
    step = smoke._log("probe", "job_1", datetime.now(UTC), time.monotonic(), Path("/nowhere"))
    assert not step.passed
    assert "the stack of-nobody cannot be seen" in step.what


def test_the_address_is_the_stacks_output_where_it_is_not_set(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    production.delenv("BASE_URL")
    production.setenv("SMOKE_TOKEN", "sj_of-a-test")
    aws.deploy("", outputs="  BaseUrl: {Value: 'http://127.0.0.1:9'}")
    with pytest.raises(smoke.SmokeError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        smoke.run(smoke.TYPE, {}, seconds=1, logs=Path("/nowhere"))
