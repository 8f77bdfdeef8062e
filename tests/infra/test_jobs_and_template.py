"""What `@job` declares and what template.yaml says must agree; each message says what to change."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from functions.api.app import app
from infra.local import template
from infra.local.gateway import path_parameters
from infra.local.template import Function, Route, read_template
from stashjobs import envelope
from stashjobs.delivery import handler as worker
from stashjobs.delivery import receive
from stashjobs.job_type import JobType, load
from stashjobs.producer import message as messages
from stashjobs.producer import schedules
from tests.translation import ROOT

TEMPLATE = ROOT / "template.yaml"
# What `!GetAtt <function>Url.FunctionUrl` is here: its own name.
NAMES = list(read_template(TEMPLATE).functions)
READ = read_template(TEMPLATE, function_urls={name: f"{name}Url" for name in NAMES})
FUNCTIONS = READ.functions
JOBS: list[JobType[Any, Any]] = [
    each for each in load() if each.function.__module__.startswith("functions.")
]

# A gateway hangs up after 30 seconds, and a second of it is the way.
GATEWAY_SECONDS = receive.GATEWAY_SECONDS
IDS = [job.type for job in JOBS]
# Each function's processes, by MaxConnections.
SHARES: dict[str, dict[str, int]] = yaml.load(TEMPLATE.read_text(), Loader=template._Loader)[  # noqa: S506
    "Mappings"
]["Connections"]


def folder_of(job: JobType[Any, Any]) -> str:
    return job.function.__module__.split(".")[1]


def logical(folder: str) -> str:
    return "".join(part.capitalize() for part in folder.split("_")) + "Function"


def function_of(job: JobType[Any, Any]) -> Function:
    name = logical(folder_of(job))
    assert name in FUNCTIONS, (
        f"{job.type} has no function: add {name} to template.yaml, with the handler "
        f"{job.function.__module__}.handler (docs/creating-jobs.md)"
    )
    return FUNCTIONS[name]


@pytest.mark.parametrize("job", JOBS, ids=IDS)
def test_the_function_runs_the_jobs_handler(job: JobType[Any, Any]) -> None:
    function, handler = function_of(job), f"{job.function.__module__}.handler"
    assert function.handler == handler, (
        f"template.yaml: {function.name} has the Handler {function.handler}; make it {handler}"
    )


@pytest.mark.parametrize("job", JOBS, ids=IDS)
def test_the_route_is_the_jobs_endpoint(job: JobType[Any, Any]) -> None:
    function = function_of(job)
    assert Route("POST", job.endpoint) in function.routes, (
        f"template.yaml: {function.name} needs the event HttpApi with Path: {job.endpoint} and "
        f"Method: POST, as @job({job.type!r}, endpoint=...) says; it has "
        f"{[route.key for route in function.routes]}"
    )


def test_no_two_functions_have_one_route() -> None:
    keys = [route.key for function in FUNCTIONS.values() for route in function.routes]
    assert sorted(keys) == sorted(set(keys))


def test_every_path_of_the_api_leads_to_it_whatever_the_id() -> None:
    ours = FUNCTIONS["ApiFunction"].routes
    asked = [
        (method.upper(), re.sub(r"{[a-z_]+}", "orders%2F2026%2F7", path))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    ]
    lost = [
        (method, path)
        for method, path in asked
        if not any(
            each.method in {method, "ANY"} and path_parameters(each, written) is not None
            for each in ours
            for written in (path, unquote(path))
        )
    ]
    assert len(asked) > 20
    assert lost == []


@pytest.mark.parametrize("job", JOBS, ids=IDS)
def test_the_function_outlives_the_job(job: JobType[Any, Any]) -> None:
    function, needed = function_of(job), job.timeout + worker.RECORD_SECONDS
    assert function.timeout >= needed, (
        f"template.yaml: {function.name} has Timeout: {function.timeout:g}, but the job may take "
        f"{job.timeout:g} s and {worker.RECORD_SECONDS:g} s are for recording its end; make it "
        f"{needed:g} or more, or lower @job({job.type!r}, timeout=...)"
    )
    assert function.timeout <= job.timeout + 10, (
        f"template.yaml: {function.name} has Timeout: {function.timeout:g}, but @job({job.type!r}) "
        f"stops after {job.timeout:g} s; nobody would ever use the rest"
    )


@pytest.mark.parametrize("job", JOBS, ids=IDS)
def test_a_job_that_outlives_the_gateway_has_a_url_of_its_own(job: JobType[Any, Any]) -> None:
    function = function_of(job)
    assert function.has_url or job.timeout <= GATEWAY_SECONDS, (
        f"template.yaml: {function.name} needs FunctionUrlConfig: {{AuthType: NONE}}, since "
        f"@job({job.type!r}) may take {job.timeout:g} s and API Gateway hangs up after 30"
    )


@pytest.mark.parametrize("job", JOBS, ids=IDS)
def test_qstash_delivers_no_more_at_once_than_the_function_has_processes(
    job: JobType[Any, Any],
) -> None:
    """What Lambda turns away comes back after 12 s, 2.5 minutes, half an hour: a burst would take
    days, or be given up."""
    name = function_of(job).name
    share = min(shares[name] for shares in SHARES.values())
    assert job.parallelism is not None, (
        f"@job({job.type!r}) in {job.function.__module__} needs parallelism={share}: {name} has "
        f"{share} in the smallest list of template.yaml's mapping Connections, and without it "
        "QStash delivers a burst all at once and Lambda turns most of it away (docs/connections.md)"
    )
    assert job.parallelism <= share, (
        f"@job({job.type!r}, parallelism={job.parallelism}) in {job.function.__module__} is more "
        f"than the {share} that {name} has in the smallest list of template.yaml's mapping "
        f"Connections: make it {share}, or give {name} more in each list (docs/connections.md)"
    )


def test_qstash_calls_back_no_more_at_once_than_the_function_has_processes() -> None:
    share = min(shares["DeliveryFailedFunction"] for shares in SHARES.values())
    assert share >= messages.DELIVERY_FAILED_PARALLELISM


def test_every_function_knows_where_each_job_is_reached() -> None:
    for job in JOBS:
        target = function_of(job)
        if not target.has_url:
            continue
        setting = f"FUNCTION_URL_{job.type.upper().replace('-', '_')}"
        assert READ.settings.get(setting) == f"{target.name}Url", (
            f"template.yaml: the SecretString of StackSecret needs "
            f'"{setting}": "${{{target.name}Url.FunctionUrl}}"'
        )


def test_no_setting_leads_to_a_url_of_another() -> None:
    urls = {
        f"FUNCTION_URL_{job.type.upper().replace('-', '_')}": f"{function_of(job).name}Url"
        for job in JOBS
    }
    told = {key: url for key, url in READ.settings.items() if key.startswith("FUNCTION_URL_")}
    assert told.items() <= urls.items()


def test_what_is_to_run_every_minute_and_every_night_does() -> None:
    found = {
        (name, each.expression, each.timezone)
        for name, function in FUNCTIONS.items()
        for each in function.schedules
    }
    assert found == {
        ("CleanupOldDataFunction", "cron(0 3 * * ? *)", "UTC"),
        ("MonitorFunction", "rate(1 minute)", "UTC"),
        ("RelayFunction", "rate(1 minute)", "UTC"),
    }


def test_the_nightly_message_is_one_that_its_job_takes() -> None:
    (schedule,) = FUNCTIONS["CleanupOldDataFunction"].schedules
    assert schedule.input is not None
    read = envelope.from_document(json.loads(schedule.input))
    (job,) = [each for each in JOBS if each.type == read.job_type]
    assert job.read_payload(read.payload).retention == 90


def test_a_job_is_not_scheduled_twice() -> None:
    """Once by the template and once in QStash, as its `schedule` would have it."""
    in_template = {job.type for job in JOBS if function_of(job).schedules}
    in_qstash = {each.job.type for each in schedules.declared()}
    assert not in_template & in_qstash
