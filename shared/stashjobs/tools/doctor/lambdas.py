"""Lambda: `live` is what was deployed last, and the account lets so many functions run at once."""

from __future__ import annotations

from typing import Any

from stashjobs.tools.doctor import stack
from stashjobs.tools.doctor.aws import where_aws_is
from stashjobs.tools.doctor.finding import Check, Verdict, green, red, yellow

ALIAS = "live"
# What a version keeps of its function, and what a deploy can change of it.
COMPARED = ("CodeSha256", "Layers", "Environment", "MemorySize", "Timeout", "Handler", "Runtime")
# AWS leaves so many to the functions that reserve none (Lambda docs, "Lambda quotas").
NEVER_RESERVED = 100


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
    Check("concurrency quota", concurrency),
)
