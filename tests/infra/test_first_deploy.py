"""The first deploy of docs/deployment.md, command by command, as somebody new would type it.

`stashjobs` is the real one, and works on the local stack's Postgres, QStash and API by the settings
of a secret, which is in moto's Secrets Manager; `aws` is botocore with the command's own options.
Only CloudFormation's work is done here: what `sam deploy` would make of the two secrets.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pytest
import yaml
from moto.server import ThreadedMotoServer

from infra.local.template import _Loader
from stashjobs.job_type import declared, load
from stashjobs.producer.message import function_url_setting
from tests import scripts
from tests.docs.blocks import ROOT, blocks
from tests.stacks import stack_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infra.local.stack import Stack

FIRST = "sam deploy --config-env staging --parameter-overrides Stage=staging "
[COMMANDS] = [
    each.text for each in blocks("sh") if each.page == "docs/deployment.md" and FIRST in each.text
]
REGION = "eu-central-1"
CREDENTIALS = {"aws_access_key_id": "of-a-test", "aws_secret_access_key": "of-a-test"}
# What the local system cannot show: its addresses are http, its logs are not in CloudWatch.
MAY_FAIL = {"stashjobs doctor", "stashjobs smoke"}

AWS = """import sys, boto3, jmespath
service, operation, *rest = sys.argv[1:]
options = dict(zip(rest[::2], rest[1::2], strict=True))
query, output = options.pop("--query", None), options.pop("--output", None)
given = {}
for name, value in options.items():
    if value.startswith("file://"):
        value = open(value[7:]).read()
    given[name[2:].title().replace("-", "")] = value
if operation == "get-account-settings":  # moto does not know it
    found = {"AccountLimit": {"ConcurrentExecutions": 1000}}
else:
    found = getattr(boto3.client(service), operation.replace("-", "_"))(**given)
print(jmespath.search(query, found) if query else found)
"""
SAM = """import json, os, sys, boto3
assert sys.argv[1:4] == ["deploy", "--config-env", "staging"], sys.argv
client = boto3.client("secretsmanager")
for name, text in json.load(open(os.environ["SECRETS"])).items():
    client.create_secret(Name=name, SecretString=text)
"""
EDITOR = """import json, os, sys
settings = json.load(open(sys.argv[1]))
settings.update(json.load(open(os.environ["ANSWERS"])))
json.dump(settings, open(sys.argv[1], "w"))
"""
MAKE = """#!/bin/sh
exec {make} --directory='{root}' --dry-run "$@" > /dev/null
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_in_a_thread(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _programs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in {"aws": AWS, "sam": SAM, "vi": EDITOR}.items():
        scripts.write_python(folder / name, text)
    (folder / "make").write_text(MAKE.format(root=ROOT, make=shutil.which("make")))
    (folder / "make").chmod(0o700)
    (folder / "stashjobs").symlink_to(ROOT / ".venv" / "bin" / "stashjobs")


def _secrets(stack: Stack) -> dict[str, str]:
    """What CloudFormation makes of the two secrets; the functions' addresses are the gateway's."""
    text = (ROOT / "template.yaml").read_text()
    template: dict[str, Any] = yaml.load(text, Loader=_Loader)  # noqa: S506
    load()
    base = stack.environment["BASE_URL"]
    urls = {function_url_setting(job.type): base for job in declared()}
    own = template["Resources"]["StageSecret"]["Properties"]["SecretString"]
    return {
        "stashjobs/staging": own,
        "stashjobs/staging/stack": json.dumps({"BASE_URL": base, **urls}),
    }


def _count_a_job(moto: str) -> None:
    """As the monitor's log would have it counted in CloudWatch; smoke waits for that."""
    client = boto3.client("cloudwatch", endpoint_url=moto, region_name=REGION, **CREDENTIALS)
    stage = [{"Name": "Stage", "Value": "staging"}]
    # Smoke looks at the minutes since it began, of which this may be the one before.
    for minutes in (0, 1):
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        data = {"MetricName": "ProcessedLastHour", "Dimensions": stage, "Value": 1}
        client.put_metric_data(Namespace="stashjobs", MetricData=[data | {"Timestamp": moment}])


@pytest.mark.timeout(900)  # a dozen processes, one after the other
def test_the_commands_work_in_their_order(stack: Stack, moto: str, tmp_path: Path) -> None:
    here = tmp_path / "checkout"
    _programs(here / ".venv" / "bin")
    (here / "functions").symlink_to(ROOT / "functions")
    answers, secrets = tmp_path / "answers.json", tmp_path / "secrets.json"
    secrets.write_text(json.dumps(_secrets(stack)))
    names = json.loads(_secrets(stack)["stashjobs/staging"])
    known = {name: stack.environment[name] for name in names if name in stack.environment}
    stand_ins = ("QSTASH_URL", "RESEND_API_URL", "RESEND_FROM_EMAIL", "STRIPE_API_BASE")
    known |= {name: stack.environment[name] for name in stand_ins if name in stack.environment}
    answers.write_text(json.dumps(known))
    environment = {
        "PATH": f"{here / '.venv' / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'shared'}",
        "SECRETS": str(secrets),
        "ANSWERS": str(answers),
        "AWS_ENDPOINT_URL": moto,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto,
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    told: dict[str, subprocess.CompletedProcess[str]] = {}
    for line in COMMANDS.replace("\\\n", " ").splitlines():
        if line.startswith(("#", "export ")):
            continue
        if line.startswith("stashjobs smoke"):
            _count_a_job(moto)
        ended = subprocess.run(
            ["bash", "-c", line],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        name = " ".join(line.split()[:2])
        assert ended.returncode == 0 or name in MAY_FAIL, f"{line}\n{ended.stdout}{ended.stderr}"
        told[name] = ended
        if name == "stashjobs tokens":
            token = next(word for word in ended.stdout.split() if word.startswith("sj_"))
            answers.write_text(json.dumps({"SMOKE_TOKEN": token}))
    assert "applied" in told["stashjobs migrate"].stdout or "up to date" in (
        told["stashjobs migrate"].stdout
    )
    assert "the secret stashjobs/staging" in told["stashjobs migrate"].stderr
    assert not (here / "settings.json").exists()
    kept = boto3.client("secretsmanager", endpoint_url=moto, region_name=REGION, **CREDENTIALS)
    text = kept.get_secret_value(SecretId="stashjobs/staging")["SecretString"]
    assert json.loads(text)["SMOKE_TOKEN"].startswith("sj_")
    assert "migrations" in told["stashjobs doctor"].stdout
    with psycopg.connect(stack.environment["POSTGRES_URL"]) as connection:
        smoked = connection.execute(
            "SELECT status FROM job_executions WHERE job_type = 'cleanup-old-data'"
        ).fetchall()
    assert smoked == [("completed",)]
