"""The command line runs outside the stack, and still publishes the URL of a long job."""

from __future__ import annotations

import json
import os
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


@pytest.fixture
def job(production: pytest.MonkeyPatch) -> Job[Any, Any]:
    """A job that may take longer than API Gateway waits; nobody has said yet where it is."""
    for name in ("FUNCTION_URL_PROBE", "FUNCTION_URL_OTHER"):
        production.setenv(name, "")  # so that what is put there is taken away again
    return probe(timeout=300)


@pytest.fixture
def deployed(aws: Aws) -> Callable[[dict[str, str]], None]:
    """Deploy a stack whose own secret has these settings."""

    def deploy(known: dict[str, str]) -> None:
        aws.client("secretsmanager").create_secret(
            Name="stashjobs/production/stack", SecretString=json.dumps(known)
        )

    return deploy


def test_it_is_asked_of_the_stacks_secret(
    deployed: Callable[[dict[str, str]], None], job: Job[Any, Any]
) -> None:
    deployed({"FUNCTION_URL_PROBE": URL, "BASE_URL": "https://jobs.acme-inc.com"})
    assert stack.function_urls() == {"FUNCTION_URL_PROBE": URL}
    publishing.require_function_urls([job])
    assert os.environ["FUNCTION_URL_PROBE"] == URL


def test_what_is_set_here_wins(
    deployed: Callable[[dict[str, str]], None], job: Job[Any, Any], production: pytest.MonkeyPatch
) -> None:
    deployed({"FUNCTION_URL_PROBE": URL, "FUNCTION_URL_OTHER": URL})
    production.setenv("FUNCTION_URL_PROBE", "https://mine.example.org")
    other: Any = type("Other", (), {"type": "other", "timeout": 60.0})
    assert publishing.ask_for_function_urls([job, other]) == []
    assert os.environ["FUNCTION_URL_PROBE"] == "https://mine.example.org"


def test_a_schedule_is_not_sent_to_an_address_that_hangs_up(
    deployed: Callable[[dict[str, str]], None], job: Job[Any, Any]
) -> None:
    deployed({"BASE_URL": "https://jobs.acme-inc.com"})
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
