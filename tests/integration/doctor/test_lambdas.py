"""Lambda, as moto's server plays it: what `live` is, and the account's quota."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from stashjobs.tools.doctor import lambdas, stack
from stashjobs.tools.doctor.finding import Level
from tests.programs import SAM
from tests.translation import PYTHON

if TYPE_CHECKING:
    from pathlib import Path

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


def _built(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name / "inner").mkdir(parents=True)
        (folder / name / "inner" / "b.py").write_text("b")
        (folder / name / "a.py").write_text(name)


def _template(**keys: str) -> dict[str, Any]:
    """A stack's template as SAM makes it, with the keys of its archives."""
    resources = {}
    for name, key in keys.items():
        what, where = ("LayerVersion", "Content") if "Layer" in name else ("Function", "Code")
        code = {where: {"S3Bucket": "archives", "S3Key": key}}
        resources[name] = {"Type": f"AWS::Lambda::{what}", "Properties": code}
    return {"TemplateBody": json.dumps({"Resources": resources})}


def test_what_is_built_here_and_deployed_is_green(
    production: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """moto would look for the archives; the template is what is looked at."""
    production.setattr(lambdas, "BUILD", tmp_path)
    _built(tmp_path, "ProbeFunction", "SharedLayer")
    keys = {
        "ProbeFunction": f"jobs/{lambdas.checksum(tmp_path / 'ProbeFunction')}",
        "SharedLayer0123456789": f"jobs/{lambdas.checksum(tmp_path / 'SharedLayer')}",
    }
    client = boto3.client("cloudformation", region_name="eu-central-1")
    production.setattr(stack, "client", lambda _service: client)
    asked = {"StackName": "stashjobs-production", "TemplateStage": "Processed"}
    with Stubber(client) as stub:
        stub.add_response("get_template", _template(**keys), asked)
        assert lambdas.deployed_is_this_build().level is Level.GREEN
        (tmp_path / "SharedLayer" / "inner" / "b.py").write_text("c")
        stub.add_response("get_template", _template(**keys), asked)
        verdict = lambdas.deployed_is_this_build()
    assert verdict.level is Level.YELLOW
    assert "not what is deployed: SharedLayer" in verdict.what


def test_without_a_build_there_is_nothing_to_compare(
    production: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    production.setattr(lambdas, "BUILD", tmp_path / "build")
    assert lambdas.deployed_is_this_build().level is Level.GREY


def test_the_checksum_is_sams(tmp_path: Path) -> None:
    _built(tmp_path, "ProbeFunction")
    if not PYTHON.exists():
        SAM.skip()
    program = "import sys; from samcli.lib.utils.hash import dir_checksum as sum; "
    ran = subprocess.run(
        [PYTHON, "-c", f"{program}print(sum(sys.argv[1]))", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == lambdas.checksum(tmp_path)


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
