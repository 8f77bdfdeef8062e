"""Lambda entry: `functions.process_webhook.handler.handler`.

The handlers of events are in `sources/`, a module for each source.
"""

from __future__ import annotations

from typing import Any

from functions.process_webhook.models import Webhook
from stashjobs import Context, job


@job(
    "process-webhook",
    endpoint="/api/jobs/webhook",
    retries=5,
    timeout=60,
    parallelism=4,
    enqueued_by="system",
)
def process_webhook(webhook: Webhook, context: Context) -> Any:
    """Hand the event to its handler, whose result is the job's. What it writes with
    `context.connection` is committed together with the completion."""
    # Here and not above: the handlers' models need pydantic, which the ingress need not import.
    from functions.process_webhook import registry

    found = registry.find(webhook.source, webhook.event)
    if found is None:
        # Sources add events at any time; that is not a failure.
        context.logger.info("webhook ignored", source=webhook.source, webhook_event=webhook.event)
        return {"ignored": f"no handler for {webhook.source} {webhook.event}"}
    return found(webhook.body, context)


handler = process_webhook.handler
