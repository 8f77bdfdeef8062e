"""Lambda entry: `functions.export_data.handler.handler`."""

from __future__ import annotations

from functions.export_data.models import Export, Exported
from stashjobs import Context, job


@job(
    "export-data",
    endpoint="/api/jobs/export",
    retries=2,
    timeout=300,
    parallelism=1,
    enqueued_by="operators",
)
def export_data(export: Export, context: Context) -> Exported:
    """Write the rows to a file in S3, and send the link to the user who asked for it."""
    from functions.export_data import exporter
    from functions.send_email import file_ready
    from stashjobs import files

    rows, size = exporter.run(export, context)
    key = exporter.key_of(export, context.job_id)
    link = files.link(
        key, file_name=f"{export.entity}.{export.format}", seconds=export.link_hours * 3600
    )
    if export.email:
        file_ready.send(
            context,
            export.email,
            title=f"Your export of {export.entity}",
            description=f"{rows:,} rows" if rows != 1 else "1 row",
            link=link,
            size=size,
        )
    context.logger.info("exported", extra={"entity": export.entity, "rows": rows, "bytes": size})
    return Exported(
        entity=export.entity,
        format=export.format,
        rows=rows,
        bytes=size,
        key=key,
        download_url=link.url,
        expires_at=link.expires_at,
        emailed=bool(export.email),
    )


handler = export_data.handler
