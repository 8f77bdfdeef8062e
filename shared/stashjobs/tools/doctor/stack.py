"""The CloudFormation stack of this stage, as far as AWS lets it be seen from here."""

from __future__ import annotations

import json
import threading
from typing import Any

from stashjobs.config import settings
from stashjobs.observability import redaction
from stashjobs.producer import message as messages

# template.yaml's default for MaxConnections.
DEFAULT_CONNECTIONS = 40

_lock = threading.Lock()
_clients: dict[str, Any] = {}


class NotHere(Exception):
    """AWS cannot be asked from here. The message says why."""


def name() -> str:
    """The stack's name: `STACK_NAME`, else `stashjobs-<stage>`.

    Raises:
        NotHere: This is the local stage, which has none.
    """
    given = settings.optional("STACK_NAME")
    if given is not None:
        return given
    if settings.stage() == "local":
        raise NotHere("the local stage has no stack (STACK_NAME names one)")
    return f"stashjobs-{settings.stage()}"


def session() -> Any:
    """AWS as it is reached from here.

    Raises:
        NotHere: There is no stack, or there are no credentials.
        ModuleNotFoundError: boto3 is not installed (`stashjobs[aws]`).
    """
    name()
    import boto3

    found = boto3.Session()
    if found.get_credentials() is None:
        raise NotHere("there are no AWS credentials here (AWS_PROFILE, say)")
    if found.region_name is None:
        raise NotHere("no AWS region is chosen here (AWS_REGION)")
    return found


def client(service: str) -> Any:
    """The process's client of an AWS service, with few and short tries. `close` closes all.

    Raises what `session` raises.
    """
    own = session()
    from botocore.config import Config

    short = Config(connect_timeout=3, read_timeout=8, retries={"max_attempts": 2})
    with _lock:
        if service not in _clients:
            _clients[service] = own.client(service, config=short)
        return _clients[service]


def close() -> None:
    """Close the clients' connections. The next use makes new ones."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


def describe() -> dict[str, Any]:
    """The stack, as CloudFormation describes it.

    Raises:
        NotHere: AWS cannot be asked.
        botocore.exceptions.ClientError: There is no such stack, or it may not be seen.
    """
    found: dict[str, Any] = client("cloudformation").describe_stacks(StackName=name())["Stacks"][0]
    return found


def outputs() -> dict[str, str]:
    """The stack's outputs. Raises what `describe` raises."""
    return {each["OutputKey"]: each["OutputValue"] for each in describe().get("Outputs", [])}


def function(logical_id: str) -> str:
    """The name of a function: what the output `<logical id>Name` says, and where there is none the
    stack's resources.

    Raises:
        KeyError: There is no such function.
        NotHere | botocore.exceptions.ClientError: See `describe`.
    """
    return outputs().get(f"{logical_id}Name") or resources("AWS::Lambda::Function")[logical_id]


def function_urls() -> dict[str, str]:
    """The settings `FUNCTION_URL_<TYPE>` of the stack's own secret, which has all of them.

    Raises:
        NotHere: AWS cannot be asked, or does not tell. The message says why.
        ModuleNotFoundError: boto3 is not installed (`stashjobs[aws]`).
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = client("secretsmanager").get_secret_value(SecretId=secret_name())
        told: dict[str, str] = json.loads(found["SecretString"])
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        reason = redaction.one_line(error)
        raise NotHere(f"the secret {secret_name()} does not tell: {reason}") from error
    return {
        setting: url
        for setting, url in told.items()
        if setting.startswith(messages.FUNCTION_URL_PREFIX) and url
    }


def secret_name() -> str:
    """The secret with what the stack itself knows, which each deploy writes."""
    return f"stashjobs/{settings.stage()}/stack"


def resources(kind: str) -> dict[str, str]:
    """Physical ids of the resources of a type, by logical id; those of nested stacks too."""
    found: dict[str, str] = {}
    waiting = [name()]
    cloudformation = client("cloudformation")
    while waiting:
        pages = cloudformation.get_paginator("list_stack_resources")
        for page in pages.paginate(StackName=waiting.pop()):
            for each in page["StackResourceSummaries"]:
                physical = each.get("PhysicalResourceId", "")
                if each["ResourceType"] == "AWS::CloudFormation::Stack":
                    waiting.append(physical)
                elif each["ResourceType"] == kind:
                    found[each["LogicalResourceId"]] = physical
    return found


def connections() -> int:
    """How many connections the stack may open: its parameter MaxConnections; where the stack cannot
    be seen the setting `MAX_CONNECTIONS`, else the template's default."""
    try:
        given = parameters().get("MaxConnections")
    except (NotHere, ModuleNotFoundError):
        given = None
    return int(given) if given else settings.whole_number("MAX_CONNECTIONS", DEFAULT_CONNECTIONS)


def parameters() -> dict[str, str]:
    """The values that the stack was deployed with. Raises what `describe` raises."""
    return {
        each["ParameterKey"]: each["ParameterValue"] for each in describe().get("Parameters", [])
    }
