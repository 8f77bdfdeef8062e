"""Lambda: `live` is what was deployed last, and the account lets so many functions run at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from stashjobs.tools.doctor import stack
from stashjobs.tools.doctor.aws import where_aws_is
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

ALIAS = "live"
# What a version keeps of its function, and what a deploy can change of it.
COMPARED = ("CodeSha256", "Layers", "Environment", "MemorySize", "Timeout", "Handler", "Runtime")
# AWS leaves so many to the functions that reserve none (Lambda docs, "Lambda quotas").
NEVER_RESERVED = 100
BUILD = Path(".aws-sam/build")


@where_aws_is
def live_is_the_build() -> Verdict:
    """The alias that is called has the code, the layer and the settings of the last deploy."""
    behind, moving, looked_at = [], [], 0
    client = stack.client("lambda")
    for name in sorted(stack.resources("AWS::Lambda::Function").values()):
        try:
            alias = client.get_alias(FunctionName=name, Name=ALIAS)
        except client.exceptions.ResourceNotFoundException:
            behind.append(f"{name} (has no alias {ALIAS})")
            continue
        looked_at += 1
        deployed = client.get_function_configuration(FunctionName=name)
        version = alias["FunctionVersion"]
        running = client.get_function_configuration(FunctionName=name, Qualifier=version)
        if others := _others(deployed, running):
            behind.append(f"{name} (version {version}: another {', '.join(others)})")
        if alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"):
            moving.append(name)
    if moving:
        return yellow(
            f"a new version is taking over: {', '.join(moving)}",
            "wait for CodeDeploy, then run doctor again",
        )
    if behind:
        return red(
            f"not what was deployed last: {', '.join(behind)}",
            "see CodeDeploy: it goes back where a new version crashes. Then deploy again",
        )
    return green(f"{looked_at} functions run what was deployed last")


@where_aws_is
def deployed_is_this_build() -> Verdict:
    """The stack has what `make build` made here, by the name that SAM gives to what it uploads."""
    if not BUILD.is_dir():
        return not_checked("there is no build here to compare with (make build)")
    template = stack.client("cloudformation").get_template(
        StackName=stack.name(), TemplateStage="Processed"
    )["TemplateBody"]
    uploaded: dict[str, str] = {}
    for name, each in template["Resources"].items():
        if each["Type"] == "AWS::Lambda::Function":
            uploaded[name] = each["Properties"]["Code"]["S3Key"]
        elif each["Type"] == "AWS::Lambda::LayerVersion":
            # SAM appends ten characters to the layer's name.
            uploaded[name[:-10]] = each["Properties"]["Content"]["S3Key"]
    others = [
        name
        for name, key in sorted(uploaded.items())
        if key.rpartition("/")[2].partition(".")[0] != checksum(BUILD / name)
    ]
    if others:
        return yellow(
            f"the build here is not what is deployed: {', '.join(others)}",
            "deploy it, or build the commit that is deployed",
        )
    return green(f"{len(uploaded)} artefacts are those that were built here")


def checksum(folder: Path) -> str:
    """What SAM calls the archive of a folder, so that it need not upload the same one twice."""
    whole = hashlib.md5(usedforsecurity=False)
    for file in sorted(str(path) for path in folder.rglob("*") if path.is_file()):
        whole.update(str(Path(file).relative_to(folder)).encode())
        own = hashlib.md5(Path(file).read_bytes(), usedforsecurity=False)
        whole.update(own.hexdigest().encode())
    return whole.hexdigest()


def _others(deployed: dict[str, Any], running: dict[str, Any]) -> list[str]:
    return [name for name in COMPARED if _told(deployed, name) != _told(running, name)]


def _told(function: dict[str, Any], name: str) -> Any:
    found = function.get(name)
    return [each["Arn"] for each in found] if name == "Layers" and found else found


@where_aws_is
def concurrency() -> Verdict:
    """The account's quota leaves each function its share."""
    limits = stack.client("lambda").get_account_settings()["AccountLimit"]
    quota, unreserved = limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]
    ask = "ask for 1,000 in Service Quotas, Lambda, Concurrent executions; it costs nothing"
    if quota < NEVER_RESERVED:
        return yellow(
            f"no more than {quota} functions run at once in this account, and none can be reserved",
            f"{ask}. Then deploy with ReserveConcurrency=true",
        )
    if stack.parameters().get("ReserveConcurrency") == "false":
        return yellow(
            f"nothing is reserved, so up to {quota} functions may each open a connection",
            "deploy with ReserveConcurrency=true",
        )
    return green(f"{quota} at once in this account, {unreserved} of them unreserved")


CHECKS = (
    Check("live version", live_is_the_build),
    Check("local build", deployed_is_this_build),
    Check("concurrency quota", concurrency),
)
