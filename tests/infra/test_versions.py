"""What is deployed is what runs: `live` has a new version of each function that a change concerns.

SAM gives a version a new logical id where the text of the function, its code or its layer is
another. CloudFormation makes a version anew where its description is another, since `Description`
is one of the properties that a version cannot change (AWS CloudFormation's resource schema of
AWS::Lambda::Version, createOnlyProperties). A test looks at both.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml

from infra.local.template import _Loader
from tests.translation import ROOT, translate_with, translated

DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506
PARAMETERS: dict[str, dict[str, Any]] = DOCUMENT["Parameters"]
VPC = {"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}
# Of a function itself, not of its versions.
UNVERSIONED = {"ReservedConcurrentExecutions", "Tags"}


def resolve(thing: Any, resources: dict[str, Any], values: dict[str, str]) -> Any:
    """`thing` with parameters, and what SSM parameters are made of, by their values."""
    if isinstance(thing, list):
        return [resolve(each, resources, values) for each in thing]
    if not isinstance(thing, dict):
        return thing
    if set(thing) == {"Ref"} and thing["Ref"] in values:
        return values[thing["Ref"]]
    if set(thing) == {"Fn::If"}:
        condition, yes, no = thing["Fn::If"]
        chosen = yes if holds(DOCUMENT["Conditions"][condition], values) else no
        return resolve(chosen, resources, values)
    if set(thing) == {"Fn::GetAtt"} and thing["Fn::GetAtt"][-1] == "Value":
        name = thing["Fn::GetAtt"][0]
        return resolve(resources[name]["Properties"]["Value"], resources, values)
    if set(thing) == {"Fn::Sub"} and isinstance(thing["Fn::Sub"], str):

        def replaced(found: re.Match[str]) -> str:
            name, _, attribute = found[1].partition(".")
            if attribute == "Value":
                return str(resolve({"Fn::GetAtt": [name, attribute]}, resources, values))
            return values.get(found[1], found[0])

        return re.sub(r"\$\{([^}]+)\}", replaced, thing["Fn::Sub"])
    if set(thing) == {"Fn::Join"}:
        parts = resolve(thing["Fn::Join"][1], resources, values)
        return parts if isinstance(parts, str) else thing["Fn::Join"][0].join(map(str, parts))
    return {name: resolve(each, resources, values) for name, each in thing.items()}


def holds(test: Any, values: dict[str, str]) -> bool:
    ((name, argument),) = test.items()
    if name == "Fn::Not":
        return not holds(argument[0], values)
    assert name == "Fn::Equals", name
    first, second = resolve(argument, {}, values)
    return bool(first == second)


class Deployed:
    """What a deploy with these parameters makes of each function."""

    def __init__(self, layer: str = "s3://packaged/layer-1.zip", **parameters: str) -> None:
        values = {name: str(each.get("Default", "")) for name, each in PARAMETERS.items()}
        values |= parameters
        resources = translate_with(layer, values)["Resources"]
        self.functions: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        for name, each in resources.items():
            properties = each.get("Properties", {})
            if each["Type"] == "AWS::Lambda::Function":
                versioned = {key: it for key, it in properties.items() if key not in UNVERSIONED}
                self.functions[name] = json.dumps(resolve(versioned, resources, values))
            elif each["Type"] == "AWS::Lambda::Version":
                description = resolve(properties.get("Description"), resources, values)
                assert len(str(description)) <= 256
                self.versions[properties["FunctionName"]["Ref"]] = f"{name} {description}"
            elif each["Type"] == "AWS::Lambda::Alias":
                version = properties["FunctionVersion"]["Fn::GetAtt"][0]
                assert version.startswith(f"{properties['FunctionName']['Ref']}Version")

    def changed(self, before: Deployed) -> set[str]:
        return {name for name in self.functions if self.functions[name] != before.functions[name]}

    def renewed(self, before: Deployed) -> set[str]:
        return {name for name in self.versions if self.versions[name] != before.versions[name]}


@pytest.fixture(scope="module")
def before() -> Deployed:
    return Deployed(**VPC)


def other_value(name: str) -> str:
    spec = PARAMETERS[name]
    if "AllowedValues" in spec:
        now = str(spec["Default"])
        return next(each for each in map(str, spec["AllowedValues"]) if each != now)
    kinds = {"Number": "1", "CommaDelimitedList": "other-1,other-2"}
    if name == "WebhookSources":
        return '{"acme": {}}'
    if name == "SecretKeyArn":
        return "arn:aws:kms:us-east-1:123456789012:key/1"
    return kinds.get(spec["Type"], "https://changed.example.com")


def test_another_layer_is_a_new_version_of_every_function(before: Deployed) -> None:
    after = Deployed(layer="s3://packaged/layer-2.zip", **VPC)
    assert after.renewed(before) == set(before.versions)
    assert len(before.versions) == len(before.functions) >= 12


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "Stage"])
def test_a_parameter_that_a_function_is_made_of_is_a_new_version_of_it(
    name: str, before: Deployed
) -> None:
    after = Deployed(**{**VPC, name: other_value(name)})
    assert after.changed(before) <= after.renewed(before)
    # A version that is made anew of an unchanged function is one that Lambda refuses to publish.
    assert after.renewed(before) <= after.changed(before)


@pytest.mark.parametrize(
    "name", ["LogLevel", "Tracing", "DebugSampleRate", "SubnetIds", "SecurityGroupIds"]
)
def test_these_parameters_concern_every_function(name: str, before: Deployed) -> None:
    after = Deployed(**{**VPC, name: other_value(name)})
    assert after.changed(before) == set(before.functions)


def test_no_function_names_a_parameter_that_differs_from_stage_to_stage() -> None:
    resources = translated(Stage="staging")["Resources"]
    for name, each in resources.items():
        if each["Type"] != "AWS::Lambda::Function":
            continue
        properties = copy.deepcopy(each["Properties"])
        properties.pop("ReservedConcurrentExecutions")
        text = json.dumps(properties)
        named = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)\}", text))
        # The version's description has SnapStart too.
        assert named & PARAMETERS.keys() - {"SnapStart"} == {"Stage"}, name


def test_what_the_stack_knows_is_where_the_functions_read_it() -> None:
    secret = DOCUMENT["Resources"]["StackSecret"]["Properties"]
    assert secret["Name"] == {"Fn::Sub": "stashjobs/${Stage}/stack"}
    text, own = secret["SecretString"]["Fn::Sub"]
    known = json.loads(text.replace("${WebhookSources}", "{}"))
    assert known["BASE_URL"] == "${BaseAddress}"
    assert own["BaseAddress"]["Fn::If"][0] == "HasOwnDomain"
    for each in DOCUMENT["Resources"].values():
        variables = each.get("Properties", {}).get("Environment", {}).get("Variables", {})
        assert not {"BASE_URL", "RESEND_FROM_EMAIL"} & variables.keys()
