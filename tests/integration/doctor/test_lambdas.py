"""Lambda, as moto's server plays it: what `live` is, and the account's quota."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from stashjobs.tools.doctor import lambdas, stack
from stashjobs.tools.doctor.finding import Level

if TYPE_CHECKING:
    from tests.integration.doctor.conftest import Aws


def _code(text: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr(zipfile.ZipInfo("handler.py"), text)
    return code.getvalue()


@pytest.fixture
def client(aws: Aws, production: pytest.MonkeyPatch) -> Any:
    """A function whose version 1 is live."""
    aws.deploy("")
    found = aws.client("lambda")
    role = aws.client("iam").create_role(RoleName="probe", AssumeRolePolicyDocument="{}")
    found.create_function(
        FunctionName="probe",
        Role=role["Role"]["Arn"],
        Runtime="python3.13",
        Handler="handler.handler",
        Code={"ZipFile": _code("first")},
        Publish=True,
    )
    found.create_alias(FunctionName="probe", Name="live", FunctionVersion="1")
    production.setattr(stack, "resources", lambda _kind: {"ProbeFunction": "probe"})
    return found


def test_live_that_is_the_last_deploy_is_green(client: Any) -> None:
    assert lambdas.live_is_the_build().level is Level.GREEN


def test_live_with_code_of_before_is_red(client: Any) -> None:
    client.update_function_code(FunctionName="probe", ZipFile=_code("second"))
    verdict = lambdas.live_is_the_build()
    assert verdict.level is Level.RED
    assert "probe (version 1: another CodeSha256)" in verdict.what


def test_live_with_settings_of_before_is_red(client: Any) -> None:
    client.update_function_configuration(FunctionName="probe", Timeout=77)
    assert "another Timeout" in lambdas.live_is_the_build().what


def test_a_function_without_live_is_red(client: Any) -> None:
    client.delete_alias(FunctionName="probe", Name="live")
    assert "probe (has no alias live)" in lambdas.live_is_the_build().what


def test_a_version_that_is_taking_over_is_yellow(client: Any) -> None:
    client.update_function_code(FunctionName="probe", ZipFile=_code("second"), Publish=True)
    client.update_alias(
        FunctionName="probe",
        Name="live",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
    )
    assert lambdas.live_is_the_build().level is Level.YELLOW


@pytest.mark.parametrize(
    ("quota", "reserves", "level"),
    [
        (10, "false", Level.YELLOW),
        (1000, "false", Level.YELLOW),
        (1000, "true", Level.GREEN),
    ],
)
def test_the_quota_of_the_account(
    production: pytest.MonkeyPatch, quota: int, reserves: str, level: Level
) -> None:
    """moto does not know GetAccountSettings."""
    client = boto3.client("lambda", region_name="eu-central-1")
    production.setattr(stack, "client", lambda _service: client)
    production.setattr(stack, "parameters", lambda: {"ReserveConcurrency": reserves})
    with Stubber(client) as stub:
        limit = {"ConcurrentExecutions": quota, "UnreservedConcurrentExecutions": quota - 6}
        stub.add_response("get_account_settings", {"AccountLimit": limit})
        assert lambdas.concurrency().level is level
