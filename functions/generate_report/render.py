"""From a request to a report: read the figures in one snapshot, put them into words, render."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from functions.generate_report import sql
from functions.generate_report.document import Report
from functions.generate_report.kinds import analytics, billing, usage
from functions.generate_report.kinds.reading import Figures
from stashjobs.config import settings
from stashjobs.store import database
from stashjobs.store.jsonb import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from functions.generate_report.models import ReportRequest
    from functions.generate_report.period import Period

KINDS: dict[str, ModuleType] = {"analytics": analytics, "usage": usage, "billing": billing}
CONTENT_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
}


def make(request: ReportRequest, period: Period, seconds: float) -> Report:
    """Read and word a report.

    Args:
        request: Which one.
        period: Its days.
        seconds: How long one statement may take.

    Raises:
        psycopg.Error: Postgres failed.
    """
    kind = KINDS[request.kind]
    with _snapshot(period.timezone, seconds) as connection:
        data = kind.read(Figures(connection, period, request.organization_id))
    scope = "All organizations"
    if request.organization_id is not None:
        scope = f"Organization {request.organization_id}"
    return Report(
        title=kind.TITLE,
        period=period,
        scope=scope,
        brand=settings.optional("APP_NAME", "stashjobs"),
        generated_at=datetime.now(UTC).astimezone(ZoneInfo(period.timezone)),
        figures=kind.figures(data, period),
        sections=kind.sections(data, period),
        data=data,
    )


def render(report: Report, request: ReportRequest) -> bytes:
    """The report in the format that is asked for."""
    if request.format == "json":
        return as_json(report, request)
    if request.format == "html":
        from functions.generate_report import page

        return page.render(report)
    from functions.generate_report import pdf

    return pdf.render(report)


def as_json(report: Report, request: ReportRequest) -> bytes:
    """The figures alone, for programs."""
    document: dict[str, Any] = {
        "kind": request.kind,
        "period": {
            "from": report.period.first_day,
            "to": report.period.last_day,
            "timezone": report.period.timezone,
        },
        "organizationId": request.organization_id,
        "generatedAt": report.generated_at,
        **report.data,
    }
    return json.dumps(to_json(document), ensure_ascii=False, indent=2).encode() + b"\n"


@contextmanager
def _snapshot(timezone: str, seconds: float) -> Iterator[database.Connection]:
    """A transaction that sees one moment: at `POSTGRES_READ_URL` where that is set, else over the
    worker's connection. Times come in `timezone`."""
    read_url = settings.optional("POSTGRES_READ_URL")
    connection = database.connect(read_url) if read_url else database.connection()
    try:
        with connection.transaction():
            connection.execute(sql.ONE_SNAPSHOT)
            connection.execute(sql.TIME_LIMIT, [f"{int(seconds * 1000)}ms"])
            connection.execute(sql.TIMES_IN, [timezone])
            yield connection
    finally:
        if read_url:
            connection.close()
