"""Links to CloudWatch Logs Insights."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from functions.api.dashboard import logs

SINCE = datetime(2030, 1, 31, 9, tzinfo=UTC)
UNTIL = datetime(2030, 1, 31, 9, 0, 2, tzinfo=UTC)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("STAGE", "staging")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_LAMBDA_LOG_GROUP_NAME", "/stashjobs/staging/api")
    return monkeypatch


@pytest.mark.usefixtures("stage")
def test_a_link_has_the_region_the_group_the_time_and_the_query() -> None:
    assert logs.of_job("0190-f1c2", "send-email", SINCE, UNTIL) == (
        "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1"
        "#logsV2:logs-insights$3FqueryDetail$3D~(end~'2030-01-31T09*3a05*3a02.000Z"
        "~start~'2030-01-31T08*3a55*3a00.000Z~timeType~'ABSOLUTE~tz~'UTC"
        "~editorString~'fields*20*40timestamp*2c*20level*2c*20message*2c*20error*0a"
        "*7c*20filter*20job_id*20*3d*20*220190-f1c2*22*0a*7c*20sort*20*40timestamp"
        "~source~(~'*2fstashjobs*2fstaging*2fsend-email))"
    )


@pytest.mark.usefixtures("stage")
def test_an_odd_id_stays_one_text_of_the_query() -> None:
    link = logs.of_job('a"b$ü€💡', "probe", SINCE, UNTIL)
    assert "*3d*20*22a*5c*22b!*fc**20ac**d83d**dca1*22*0a" in link
    assert link.isascii()


@pytest.mark.usefixtures("stage")
def test_a_function_without_jobs_has_its_last_hour() -> None:
    assert logs.of_function("relay").endswith("~source~(~'*2fstashjobs*2fstaging*2frelay))")


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com/cloudwatch/"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/cloudwatch/"),
    ],
)
def test_each_partition_has_its_own_console(
    stage: pytest.MonkeyPatch, region: str, console: str
) -> None:
    stage.setenv("AWS_REGION", region)
    assert logs.of_function("relay").startswith(console)


@pytest.mark.parametrize("missing", ["AWS_REGION", "AWS_LAMBDA_LOG_GROUP_NAME", "STAGE"])
def test_where_region_or_group_are_not_known_and_on_this_machine_there_is_no_link(
    stage: pytest.MonkeyPatch, missing: str
) -> None:
    stage.delenv(missing)
    assert logs.of_job("some", "send-email", SINCE) == ""
    assert logs.of_function("relay") == ""
