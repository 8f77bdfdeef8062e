"""What is written to the log: the bytes that `stashjobs cost` calculates with."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from functions.monitor import handler as monitor
from infra.local.template import _Loader
from stashjobs.tools.costs import Prices
from tests.deliveries import Table, delivery, handle, lambda_context, probe
from tests.translation import ROOT

if TYPE_CHECKING:
    from tests.integration.conftest import Log

# As QStash's documentation has one (Upstash docs, "Publish a Message").
MESSAGE_ID = "msg_26hZCxZCuWyyTWPmSVBrNC1RADwpgWxPcak2rQD51EMjFMuzcjW7qHpsiWuHz"
# Lambda sets one whether X-Ray traces or not.
TRACE = "Root=1-6744a1f2-3d2c1b0a9f8e7d6c5b4a3928;Parent=35465b3a9e2f7c6a;Sampled=0"
NUMBERS = Prices()


def test_a_delivery_that_completes(
    table: Table, settings: pytest.MonkeyPatch, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a job with a user and an organisation."""
    settings.setenv("STAGE", "production")
    settings.setenv("_X_AMZN_TRACE_ID", TRACE)
    job = probe(lambda _payload, _context: None, type="send-email")
    job_id = table.add(job, user_id="user_0123456789", organization_id="org_0123456789")
    message = {"jobId": job_id, "type": job.type}
    event = delivery(message, message_id=MESSAGE_ID, **{"upstash-retried": "0"})
    capsys.readouterr()
    assert handle(job, event, lambda_context(request_id=str(uuid.uuid4()))).status == 200
    written = log.text + capsys.readouterr().out
    assert len(written.splitlines()) == 3
    assert len(written.encode()) == pytest.approx(NUMBERS.number("log_bytes"), rel=0.04)


def test_a_minute_of_the_monitor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every metric, and seven types that had jobs in the last hour."""
    monkeypatch.setenv("STAGE", "production")
    of_jobs = dict.fromkeys(
        ["StuckJobs", "QueueDepth", "OldestPendingSeconds", "ProcessedLastHour", "FailureRate"],
        12.0,
    )
    types = int(NUMBERS.number("job_types"))
    monitor.emit(of_jobs, {f"a-type-of-jobs-{n}": 0.123456789 for n in range(types)})
    monitor.emit({"DeadLetters": 0.0, "HeldBack": 0.0}, {})
    written = capsys.readouterr().out
    assert len(written.splitlines()) == 2 + types
    assert len(written.encode()) == pytest.approx(NUMBERS.number("monitor_log_bytes"), rel=0.04)


REQUEST = {
    "requestId": "JKJaXmPLvHcESHA=",
    "requestTime": "24/Nov/2026:15:36:28 +0000",
    "identity.sourceIp": "203.0.113.200",
    "routeKey": "POST /api/jobs/notifications",
    "path": "/api/jobs/notifications",
    "status": "200",
    "responseLatency": "118",
    "integration.latency": "114",
    "responseLength": "92",
    "identity.userAgent": "Upstash-QStash",
    "error.message": "-",
    "integrationErrorMessage": "-",
}


def test_a_request_of_api_gateway() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506
    format_: str = template["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"]
    line = re.sub(r"\$context\.([\w.]+)", lambda found: REQUEST[found[1]], format_)
    assert json.loads(line)["status"] == "200"
    assert len(line.encode()) == pytest.approx(NUMBERS.number("gateway_log_bytes"), rel=0.04)


INVOCATION: list[dict[str, Any]] = [
    {
        "time": "2026-10-08T07:30:28.235Z",
        "type": "platform.start",
        "record": {
            "requestId": "79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36",
            "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:"
            "stashjobs-production-send-email:live",
            "version": "42",
        },
    },
    {
        "time": "2026-10-08T07:30:29.470Z",
        "type": "platform.report",
        "record": {
            "requestId": "79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36",
            "metrics": {
                "durationMs": 103.961,
                "billedDurationMs": 104,
                "memorySizeMB": 512,
                "maxMemoryUsedMB": 123,
            },
            "status": "success",
        },
    },
]


def test_an_invocation_of_lambda() -> None:
    """Its own lines, in the form that they have at the level INFO, which is the default (AWS docs,
    "Log-level filtering"; "Lambda Telemetry API Event schema reference")."""
    lines = [json.dumps(each, separators=(",", ":")) for each in INVOCATION]
    assert sum(map(len, lines)) == pytest.approx(NUMBERS.number("platform_log_bytes"), rel=0.04)
