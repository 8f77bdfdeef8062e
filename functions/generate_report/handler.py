"""Lambda entry: `functions.generate_report.handler.handler`."""

from __future__ import annotations

from functions.generate_report.models import GeneratedReport, ReportRequest
from functions.generate_report.period import Period
from stashjobs import Context, job


@job(
    "generate-report",
    endpoint="/api/jobs/report",
    retries=2,
    timeout=180,
    parallelism=2,
    enqueued_by="operators",
)
def generate_report(request: ReportRequest, context: Context) -> GeneratedReport:
    """Make the report, put it into S3, and send the link to the user who asked for it."""
    # Here and not above: reportlab, Jinja and boto3 cost a cold start that only this needs.
    from functions.generate_report import render
    from functions.send_email import file_ready
    from stashjobs import files

    period = Period.of(request)
    report = render.make(request, period, context.remaining_seconds())
    context.progress(0.5, "the figures are read")
    content = render.render(report, request)
    # The same in every attempt, so that a retry replaces what an earlier one left.
    key = f"reports/{context.job_id}/{request.kind}.{request.format}"
    files.put(key, content, render.CONTENT_TYPES[request.format])
    name = f"{request.kind}-{period.first_day}-{period.last_day}.{request.format}"
    link = files.link(key, file_name=name, seconds=request.link_hours * 3600)
    if request.email:
        file_ready.send(
            context,
            request.email,
            title=f"{report.title} for {period.label}",
            description=report.scope,
            link=link,
            size=len(content),
        )
    context.logger.info("report made", extra={"kind": request.kind, "bytes": len(content)})
    return GeneratedReport(
        kind=request.kind,
        format=request.format,
        first_day=period.first_day,
        last_day=period.last_day,
        bytes=len(content),
        key=key,
        download_url=link.url,
        expires_at=link.expires_at,
        emailed=bool(request.email),
    )


handler = generate_report.handler
