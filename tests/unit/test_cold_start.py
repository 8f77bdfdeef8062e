"""What a cold start loads: a fresh interpreter each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = [
    "boto3",
    "fastapi",
    "httpx",
    "opentelemetry",
    "pydantic",
    "pydantic_settings",
    "qstash",
    "sentry_sdk",
    "sqlalchemy",
]

HANDLER = """
from stashjobs import Context, job

@job("cold-start", endpoint="/api/jobs/cold")
def cold_start(payload: dict, context: Context) -> None: ...

handler = cold_start.handler
"""


def loaded_by(program: str, repository: Path) -> set[str]:
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{program}\nimport json, sys; print(json.dumps(list(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(repository / "shared"), "PATH": os.environ["PATH"]},
    )
    return set(json.loads(ran.stdout.splitlines()[-1]))


DELIVERY = (
    HANDLER
    + """
from types import SimpleNamespace
from stashjobs.observability import tracing
from stashjobs.errors import DeliveryRefused
cold_start.read_payload({})
assert cold_start.dump_payload({"a": 1}) == {"a": 1}
lambda_context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 9000)
try:
    handler({"type": "cold-start", "payload": {}}, lambda_context)
except DeliveryRefused:  # there is no Postgres
    assert not tracing.is_on()
"""
)


def test_neither_an_import_nor_a_delivery_without_a_model_or_traces_loads_a_heavy_one(
    repository: Path,
) -> None:
    loaded = loaded_by(DELIVERY, repository)
    assert "aws_lambda_powertools.logging" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_test_would_see_a_heavy_one(repository: Path) -> None:
    assert not loaded_by("import pydantic", repository).isdisjoint(HEAVY)


EXPORTS = """
import io, sys
from contextlib import ExitStack
from functions.export_data import entities, exporter, formats, handler

class Sink(io.BytesIO): ...

loaded = {}
columns = {"number": entities.Column("", "number")}
for name in ("csv", "jsonl", "xlsx"):
    with ExitStack() as exits:
        writer = formats.writer(name, Sink(), columns, exits, title="rows")
        writer.add([(1,)])
        writer.finish()
    loaded[name] = sorted({"xlsxwriter", "reportlab", "jinja2", "boto3"} & sys.modules.keys())
assert loaded == {"csv": [], "jsonl": [], "xlsx": ["xlsxwriter"]}, loaded
"""
REPORTS = """
import sys
from datetime import UTC, datetime
from functions.generate_report import handler, render
from functions.generate_report.document import Figure, Report
from functions.generate_report.models import ReportRequest
from functions.generate_report.period import Period

now = datetime(2026, 6, 1, tzinfo=UTC)
loaded = {}
for name in ("json", "html"):
    request = ReportRequest.model_validate(
        {"kind": "usage", "format": name, "from": "2026-05-01", "to": "2026-05-31"})
    report = Report(title="A", period=Period.of(request, now), scope="All", brand="B",
                    generated_at=now, figures=[Figure("Jobs", "1")], sections=[])
    render.render(report, request)
    loaded[name] = sorted({"xlsxwriter", "reportlab", "jinja2",
                           "fontpkg_ibm_plex_sans_condensed"} & sys.modules.keys())
assert loaded == {"json": [], "html": ["jinja2", "reportlab"]}, loaded
"""
PDF = REPORTS.replace('("json", "html")', '("pdf",)').replace(
    '{"json": [], "html": ["jinja2", "reportlab"]}',
    '{"pdf": ["fontpkg_ibm_plex_sans_condensed", "reportlab"]}',
)


def test_an_export_and_a_report_load_what_their_format_needs_and_no_more(repository: Path) -> None:
    for program in (EXPORTS, REPORTS, PDF):
        loaded_by(f"import sys; sys.path.append({str(repository)!r})\n{program}", repository)
