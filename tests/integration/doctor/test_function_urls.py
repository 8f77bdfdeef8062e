"""The command line runs outside the stack, and still tells QStash where a long job is reached."""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs.errors import SettingError
from stashjobs.tools.cli import publishing
from stashjobs.tools.doctor import stack
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs.job import Job
    from tests.integration.doctor.conftest import Aws

URL = "https://probe.lambda-url.eu-central-1.on.aws/"
TRUST: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture
def job(production: pytest.MonkeyPatch) -> Job[Any, Any]:
    """A job that may take longer than API Gateway waits; nobody has said yet where it is."""
    for name in ("FUNCTION_URL_PROBE", "FUNCTION_URL_OTHER"):
        production.setenv(name, "")  # so that what is put there is taken away again
    return probe(timeout=300)


@pytest.fixture
def relay(aws: Aws) -> Callable[[dict[str, str]], None]:
    """Deploy a stack whose relay has these variables."""

    def deploy(variables: dict[str, str]) -> None:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("handler.py", "")
        role = aws.client("iam").create_role(
            RoleName="relay", AssumeRolePolicyDocument=json.dumps(TRUST)
        )
        aws.client("lambda").create_function(
            FunctionName="stashjobs-production-relay",
            Role=role["Role"]["Arn"],
            Runtime="python3.13",
            Handler="handler.handler",
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": variables},
        )
        aws.deploy("", outputs="  RelayFunctionName: {Value: stashjobs-production-relay}")

    return deploy


def test_it_is_asked_of_the_deployed_relay(
    relay: Callable[[dict[str, str]], None], job: Job[Any, Any]
) -> None:
    relay({"FUNCTION_URL_PROBE": URL, "STAGE": "production"})
    assert stack.function_urls() == {"FUNCTION_URL_PROBE": URL}
    publishing.require_function_urls([job])
    assert os.environ["FUNCTION_URL_PROBE"] == URL


def test_what_is_set_here_wins(
    relay: Callable[[dict[str, str]], None], job: Job[Any, Any], production: pytest.MonkeyPatch
) -> None:
    relay({"FUNCTION_URL_PROBE": URL, "FUNCTION_URL_OTHER": URL})
    production.setenv("FUNCTION_URL_PROBE", "https://mine.example.org")
    other: Any = type("Other", (), {"type": "other", "timeout": 60.0})
    assert publishing.ask_for_function_urls([job, other]) == []
    assert os.environ["FUNCTION_URL_PROBE"] == "https://mine.example.org"


def test_a_schedule_is_not_sent_to_an_address_that_hangs_up(
    relay: Callable[[dict[str, str]], None], job: Job[Any, Any]
) -> None:
    relay({"STAGE": "production"})
    with pytest.raises(SettingError, match="FUNCTION_URL_PROBE is not set"):
        publishing.require_function_urls([job])


def test_where_aws_cannot_be_asked_an_enqueue_goes_on_with_a_warning(
    aws: Aws, job: Job[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    publishing.warn_without_function_urls([job])
    assert "Warning: FUNCTION_URL_PROBE is not set" in capsys.readouterr().err


def test_a_short_job_and_the_local_stage_ask_nobody(
    job: Job[Any, Any], production: pytest.MonkeyPatch
) -> None:
    production.setattr(stack, "function_urls", lambda: pytest.fail("AWS was asked"))
    assert publishing.ask_for_function_urls([probe(timeout=29)]) == []
    production.setenv("STAGE", "local")
    assert publishing.ask_for_function_urls([job]) == []
