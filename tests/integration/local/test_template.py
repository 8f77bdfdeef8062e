"""What a local run reads out of template.yaml."""

from pathlib import Path

import pytest

from infra.local.template import (
    Function,
    Route,
    ScheduleEvent,
    TemplateError,
    read_template,
)

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: staging}
Conditions:
  InProduction: !Equals [!Ref Stage, production]
  Elsewhere: !Not [!Condition InProduction]
Globals:
  Function:
    Timeout: 35
    MemorySize: 256
    Environment:
      Variables:
        STAGE: !Ref Stage
        SECRET: !Sub '{{resolve:secretsmanager:stashjobs/${Stage}}}'
        QUEUE: !GetAtt Queue.Arn
        NAME: !Sub '${AWS::Region}-${Stage}-${!kept}'
        MODE: !If [InProduction, real, test]
Resources:
  Queue: {Type: AWS::SQS::Queue}
  Export:
    Type: AWS::Serverless::Function
    Properties:
      Handler: functions.export.handler.handler
      Timeout: 300
      FunctionUrlConfig: {AuthType: NONE}
      Environment: {Variables: {EXPORT_URL: !GetAtt ExportUrl.FunctionUrl, STAGE: own}}
      Events:
        Api: {Type: HttpApi, Properties: {Path: '/e/{id}', Method: post}}
        Rest: {Type: HttpApi}
        Night:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(0 3 * * ? *)
            ScheduleExpressionTimezone: Europe/Rome
            Input: '{"a": 1}'
        Off: {Type: Schedule, Properties: {Schedule: rate(1 minute), Enabled: false}}
  Only:
    Type: AWS::Serverless::Function
    Condition: InProduction
    Properties: {Handler: functions.only.handler.handler}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    return path


def test_functions_have_their_globals_routes_and_schedules(path: Path) -> None:
    urls = {"Export": "http://127.0.0.1:8710/"}

    template = read_template(path, parameters={"Stage": "local"}, function_urls=urls)

    assert template.functions == {
        "Export": Function(
            name="Export",
            handler="functions.export.handler.handler",
            timeout=300,
            memory=256,
            environment={
                "STAGE": "own",
                "NAME": "us-east-1-local-${kept}",
                "MODE": "test",
                "EXPORT_URL": "http://127.0.0.1:8710/",
            },
            routes=(Route("POST", "/e/{id}"), Route("ANY", "$default")),
            schedules=(ScheduleEvent("Night", "cron(0 3 * * ? *)", "Europe/Rome", '{"a": 1}'),),
            has_url=True,
        )
    }


def test_a_resource_whose_condition_holds_is_there(path: Path) -> None:
    assert set(read_template(path, parameters={"Stage": "production"}).functions) == {
        "Export",
        "Only",
    }


@pytest.mark.parametrize("text", ["", "a: [", "Resources: 1", "{}"])
def test_what_is_no_template_is_refused_with_its_path(path: Path, text: str) -> None:
    path.write_text(text)

    with pytest.raises(TemplateError, match="template"):
        read_template(path)
