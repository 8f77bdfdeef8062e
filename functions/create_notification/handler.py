"""Lambda entry: `functions.create_notification.handler.handler`."""

from __future__ import annotations

from functions.create_notification.models import Notification, Notified
from stashjobs import Context, job


@job(
    "create-notification",
    endpoint="/api/jobs/notifications",
    retries=3,
    timeout=30,
    parallelism=4,
)
def create_notification(notification: Notification, context: Context) -> Notified:
    """Write one row per user, in one statement that is committed together with the completion."""
    # Here and not above: a producer needs no SQL.
    from functions.create_notification import notifications

    recipients = notification.recipients
    created = notifications.create(
        context.connection,
        notification,
        job_id=context.job_id,
        organization_id=context.organization_id,
    )
    context.logger.info("notified", recipients=len(recipients), notified=created)
    return Notified(recipients=len(recipients), created=created)


handler = create_notification.handler
