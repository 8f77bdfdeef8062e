"""Lambda entry: `functions.cleanup_old_data.handler.handler`; a schedule invokes it every day."""

from __future__ import annotations

from functions.cleanup_old_data.models import CleanedUp, Cleanup
from stashjobs import Context, job


@job(
    "cleanup-old-data",
    endpoint="/api/jobs/cleanup",
    retries=1,
    timeout=600,
    parallelism=1,
    enqueued_by="operators",
)
def cleanup_old_data(cleanup: Cleanup, context: Context) -> CleanedUp:
    """Move what is past its retention to the archive, and say how much that was."""
    from functions.cleanup_old_data.cleaner import Cleaner
    from functions.cleanup_old_data.retention import Retention
    from stashjobs.job_type import broken, load

    # What other types were declared with. What a handler that cannot be imported declares is not
    # known: so only types of the others are cleaned up.
    declared = {each.type: each.retention for each in load(skip_broken=True)}
    cleaner = Cleaner(cleanup, Retention.of(cleanup, declared, all_known=not broken()), context)
    cleaned = cleaner.count() if cleanup.dry_run else cleaner.run()
    context.logger.info("cleaned up", extra={"cleanup": cleaned.model_dump()})
    return cleaned


handler = cleanup_old_data.handler
