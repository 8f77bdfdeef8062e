"""The regions that the templates can be deployed in: `python -m infra.build.regions cfn-lint`.

To lint every template for every region takes ten minutes, and finds the same thing in each: what
differs is which types of resources there are. So the types are compared, by the schemas of
CloudFormation that cfn-lint has. A region whose schemas are others is linted, and so is the
database in all of them, since cfn-lint also knows which instances and engines RDS has where.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from cfnlint.helpers import REGION_PRIMARY, REGIONS  # type: ignore[import-untyped]
from cfnlint.schema import (  # type: ignore[import-untyped]
    PROVIDER_SCHEMA_MANAGER,
    ResourceNotFoundError,
)

from infra.local.template import _Loader

ROOT = Path(__file__).parents[2]
TEMPLATES = [ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml"))]
# What SAM makes of a function, its events and its layer.
MADE_BY_SAM = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::IAM::Role",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Url",
    "AWS::Lambda::Version",
    "AWS::Scheduler::Schedule",
}
# Of the parameter Database alone: without it a region that lacks them is as good as any.
OF_THE_DATABASE = "AWS::RDS::"


def types() -> set[str]:
    """The types of all resources, those included that SAM makes."""
    found = set(MADE_BY_SAM)
    for path in TEMPLATES:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        found |= {each["Type"] for each in document["Resources"].values()}
    return {each for each in found if not each.startswith("AWS::Serverless::")}


def lacking(region: str, wanted: set[str]) -> list[str]:
    """Which of these types a region does not have."""
    return sorted(each for each in wanted if _schema(region, each) is None)


def differing(region: str, wanted: set[str]) -> list[str]:
    """Which of these types are other ones there than in the region that is always linted."""
    return sorted(each for each in wanted if _schema(region, each) != _schema(REGION_PRIMARY, each))


def _schema(region: str, kind: str) -> object:
    try:
        return PROVIDER_SCHEMA_MANAGER.get_resource_schema(region, kind).schema
    except ResourceNotFoundError:
        return None


def main(program: str) -> int:
    """1 where a template is not well in a region that has all that it needs."""
    wanted = types()
    usable, others = [], []
    for region in REGIONS:
        gone = [each for each in lacking(region, wanted) if not each.startswith(OF_THE_DATABASE)]
        if gone:
            print(f"{region}: cannot be used, there is no {', '.join(gone)}")
            continue
        usable.append(region)
        if differing(region, wanted):
            others.append(region)
    print(f"{len(usable)} regions have all that the templates need; linted besides: {others or 0}")
    lint = [program, "--non-zero-exit-code", "error"]
    failed = subprocess.run(
        [*lint, "--regions", *usable, "--template", ROOT / "infra" / "database.yaml"], check=False
    ).returncode
    if others:
        failed |= subprocess.run([*lint, "--regions", *others], check=False).returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
