"""Creates the stack in moto.

What moto's CloudFormation knows goes through CloudFormation; the rest is created by its own API, so
that boto3 checks its properties against AWS's model, and moto keeps it. Only what moto knows
neither way (CodeDeploy, a gateway's stage, policies of a queue) is left out: `LEFT_OUT`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import boto3
import yaml

from infra.local.template import _Loader
from tests.translation import decide, translate

REGION = "us-east-1"
ACCOUNT = "123456789012"
INFRA = Path(__file__).parents[2] / "infra"
OWN_API = {
    "AWS::ApiGatewayV2::Api",
    "AWS::CloudFormation::Stack",
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::Alias",
    "AWS::Lambda::Url",
    "AWS::SNS::Subscription",
    "AWS::SSM::Parameter",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
}
LEFT_OUT = {
    "AWS::ApiGatewayV2::Stage",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}


class Deployment:
    """One stack, and the stacks in it.

    Attributes:
        resources: Those of template.yaml, translated and decided.
        outputs: As CloudFormation would answer them.
    """

    def __init__(self, **parameters: str) -> None:
        self.document = translate(**parameters)
        self.resources: dict[str, Any] = self.document["Resources"]
        declared = self.document["Parameters"]
        given = {name: each.get("Default") for name, each in declared.items()} | parameters
        self.values: dict[str, Any] = {
            **{
                name: value.split(",") if declared[name]["Type"] == "CommaDelimitedList" else value
                for name, value in given.items()
            },
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackName": "stashjobs",
            "AWS::URLSuffix": "amazonaws.com",
        }
        self.attributes: dict[str, str] = {}
        self._create()
        self.outputs = {
            name: self.resolve(each["Value"]) for name, each in self.document["Outputs"].items()
        }

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: each for name, each in self.resources.items() if each["Type"] == kind}

    def resolve(self, thing: Any) -> Any:
        """`thing` as AWS sees it. An unknown name is a mistake in the template: KeyError."""
        if isinstance(thing, list):
            return [self.resolve(each) for each in thing]
        if not isinstance(thing, dict):
            return thing
        if len(thing) == 1:
            (name, argument), *_ = thing.items()
            match name:
                case "Ref":
                    return self.values[argument]
                case "Fn::GetAtt":
                    return self.attributes[".".join(argument)]
                case "Fn::Sub":
                    return self._substitute(argument)
                case "Fn::Split":
                    return self.resolve(argument[1]).split(argument[0])
                case "Fn::Join":
                    return argument[0].join(map(str, self.resolve(argument[1])))
                case "Fn::FindInMap":
                    table, first, second = self.resolve(argument)
                    return self.document["Mappings"][table][first][second]
        return {name: self.resolve(each) for name, each in thing.items()}

    def _substitute(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        known = self.values | self.attributes | self.resolve(own)
        return re.sub(r"\$\{([^}!]+)\}", lambda found: str(known[found[1]]), text)

    # --- in the order in which they need each other

    def _create(self) -> None:
        self._package()
        for name, each in self.of_type("AWS::Lambda::Function").items():
            self.values[name] = self.resolve(each["Properties"]["FunctionName"])
        for name, each in self.of_type("AWS::Lambda::Alias").items():
            function = self.resolve(each["Properties"]["FunctionName"])
            alias = each["Properties"]["Name"]
            self.values[name] = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:{alias}"
        for name in self.of_type("AWS::Lambda::Url"):
            host = name.lower().removesuffix("functionurl")
            self.attributes[f"{name}.FunctionUrl"] = f"https://{host}.lambda-url.{REGION}.on.aws/"
        self.values["ServerlessDeploymentApplication"] = "application"
        client = boto3.client("ssm")
        for name, each in self.of_type("AWS::SSM::Parameter").items():
            made = self.resolve(each["Properties"])
            client.put_parameter(Name=name, **made)
            self.attributes[f"{name}.Value"] = made["Value"]
        self._create_secret("StageSecret")
        self._create_by_cloudformation()
        self._create_secret("FilesLinkSecret")
        self._create_api()
        self._create_secret("StackSecret")
        self._create_aliases()
        self._create_alarms()
        client = boto3.client("scheduler")
        for name, each in self.of_type("AWS::Scheduler::Schedule").items():
            client.create_schedule(Name=name, **self.resolve(each["Properties"]))

    def _package(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("handler.py", "")
        client = boto3.client("s3")
        client.create_bucket(Bucket="packaged")
        client.put_object(Bucket="packaged", Key="code.zip", Body=file.getvalue())

    def _create_secret(self, name: str) -> None:
        made = self.resolve(self.resources[name]["Properties"])
        made = {key: each for key, each in made.items() if each != ""}
        self.values[name] = boto3.client("secretsmanager").create_secret(**made)["ARN"]

    def _create_by_cloudformation(self) -> None:
        mine = {
            name: each
            for name, each in self.resources.items()
            if each["Type"] not in OWN_API | LEFT_OUT
        }
        # What the others will be called stands for them.
        self.values.setdefault(
            "FilesLinkSecret", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:link"
        )
        self.values["Api"] = "api"
        template = {
            **{key: each for key, each in self.document.items() if key != "Outputs"},
            "Resources": _named(mine, self.values, self.attributes, keep=mine.keys()),
        }
        template.pop("Rules", None)
        client = boto3.client("cloudformation")
        client.create_stack(
            StackName="stashjobs",
            TemplateBody=json.dumps(template),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": str(self.values[name])}
                for name in self.document["Parameters"]
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        stack = client.describe_stacks(StackName="stashjobs")["Stacks"][0]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        pages = client.get_paginator("list_stack_resources").paginate(StackName="stashjobs")
        for each in (each for page in pages for each in page["StackResourceSummaries"]):
            self._learn(each["LogicalResourceId"], each["ResourceType"], each["PhysicalResourceId"])

    def _learn(self, name: str, kind: str, physical: str) -> None:
        self.values[name] = physical
        tail = physical.rsplit("/", 1)[-1]
        self.attributes[f"{name}.QueueName"] = tail
        service = {
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{tail}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{tail}",
            "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{tail}",
            "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{physical}:*",
        }
        self.attributes[f"{name}.Arn"] = service.get(kind, physical)
        self.attributes[f"{name}.SecretAccessKey"] = "made-by-iam"

    def _create_api(self) -> None:
        client = boto3.client("apigatewayv2")
        api = client.create_api(Name="stashjobs", ProtocolType="HTTP")["ApiId"]
        self.values["Api"] = api
        body = self.resolve(self.resources["Api"]["Properties"]["Body"])
        for path, methods in body["paths"].items():
            for method, route in methods.items():
                integration = route["x-amazon-apigateway-integration"]
                made = client.create_integration(
                    ApiId=api,
                    IntegrationType=integration["type"].upper(),
                    IntegrationUri=integration["uri"],
                    PayloadFormatVersion=integration["payloadFormatVersion"],
                )
                verb = "ANY" if method.startswith("x-") else method.upper()
                client.create_route(
                    ApiId=api,
                    RouteKey=f"{verb} {path}",
                    Target=f"integrations/{made['IntegrationId']}",
                )

    def _create_aliases(self) -> None:
        client = boto3.client("lambda")
        for each in self.of_type("AWS::Lambda::Alias").values():
            properties = each["Properties"]
            function = self.resolve(properties["FunctionName"])
            client.create_alias(FunctionName=function, Name=properties["Name"], FunctionVersion="1")

    def _create_alarms(self) -> None:
        outer = self.resolve(self.resources["Alarms"]["Properties"]["Parameters"])
        outputs = _create_nested(INFRA / "alarms.yaml", outer)
        for name, each in outputs.items():
            self.attributes[f"Alarms.Outputs.{name}"] = each
        for name in self.of_type("AWS::Lambda::Version"):
            self.attributes[f"{name}.Version"] = "1"
        client = boto3.client("cloudwatch")
        for name, each in self.of_type("AWS::CloudWatch::Alarm").items():
            alarm = self.resolve(each["Properties"])
            client.put_metric_alarm(**{**alarm, "Threshold": float(alarm["Threshold"])})
            self.values[name] = alarm["AlarmName"]


def _create_nested(path: Path, given: dict[str, str]) -> dict[str, str]:
    """The alarms of a nested template, by CloudWatch's API; the rest of it by moto as it can."""
    document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506  (a SafeLoader)
    defaults = {name: each.get("Default") for name, each in document["Parameters"].items()}
    values: dict[str, Any] = {
        **defaults,
        **given,
        "AWS::AccountId": ACCOUNT,
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
    }
    document = decide(document, {name: str(each) for name, each in values.items()})
    self: Deployment = Deployment.__new__(Deployment)
    self.document, self.resources, self.values = document, document["Resources"], values
    self.attributes = {}
    cloudwatch = boto3.client("cloudwatch")
    for name, each in self.resources.items():
        properties = each.get("Properties", {})
        match each["Type"]:
            case "AWS::KMS::Key":
                made = boto3.client("kms").create_key(
                    Policy=json.dumps(self.resolve(properties["KeyPolicy"]))
                )
                values[name] = made["KeyMetadata"]["KeyId"]
            case "AWS::SNS::Topic":
                attributes = self.resolve(properties)
                made = boto3.client("sns").create_topic(Name="alarms", Attributes=attributes)
                values[name] = made["TopicArn"]
            case "AWS::SNS::Subscription":
                boto3.client("sns").subscribe(**self.resolve(properties))
            case "AWS::CloudWatch::Alarm":
                alarm = self.resolve(properties)
                cloudwatch.put_metric_alarm(**{**alarm, "Threshold": float(alarm["Threshold"])})
                values[name] = alarm["AlarmName"]
            case "AWS::CloudFormation::Stack":
                inner = path.parent / properties["TemplateURL"]
                for key, output in _create_nested(
                    inner, self.resolve(properties["Parameters"])
                ).items():
                    self.attributes[f"{name}.Outputs.{key}"] = output
            case "AWS::CloudWatch::CompositeAlarm":
                values[name] = self.resolve(properties["AlarmName"])
    return {name: self.resolve(each["Value"]) for name, each in document.get("Outputs", {}).items()}


def _named(thing: Any, values: dict[str, Any], attributes: dict[str, str], *, keep: Any) -> Any:
    """`thing` with what moto's CloudFormation cannot look up replaced by its name."""
    if isinstance(thing, list):
        return [_named(each, values, attributes, keep=keep) for each in thing]
    if not isinstance(thing, dict):
        return thing
    if "Ref" in thing and thing["Ref"] not in keep and thing["Ref"] in values:
        return values[thing["Ref"]]
    if "Fn::GetAtt" in thing and ".".join(thing["Fn::GetAtt"]) in attributes:
        return attributes[".".join(thing["Fn::GetAtt"])]
    if "Fn::Sub" in thing and isinstance(thing["Fn::Sub"], str):
        known = attributes | {name: each for name, each in values.items() if name not in keep}
        text = re.sub(
            r"\$\{([^}!]+)\}", lambda found: str(known.get(found[1], found[0])), thing["Fn::Sub"]
        )
        return {"Fn::Sub": text}
    return {name: _named(each, values, attributes, keep=keep) for name, each in thing.items()}
