"""Lambda entry: `functions.send_email.handler.handler`."""

from __future__ import annotations

import re
from hashlib import sha256

from functions.send_email.models import Email, SentEmail
from stashjobs import Context, job
from stashjobs.config import settings

if settings.is_lambda_of(__name__):
    # Every delivery will need them. A producer needs none and may lack the packages.
    from functions.send_email import rendering, resend_api  # noqa: F401


@job("send-email", endpoint="/api/jobs/email", retries=3, timeout=30, parallelism=5)
def send_email(email: Email, context: Context) -> SentEmail:
    """Render the email and hand it to Resend, once, however often this runs."""
    # Here and not above: a producer needs neither Jinja nor Resend's SDK.
    from functions.send_email import resend_api
    from functions.send_email.rendering import Brand, render

    sender = settings.require("RESEND_FROM_EMAIL")
    support = settings.optional("SUPPORT_EMAIL", "")
    brand = Brand(
        name=settings.optional("APP_NAME", "") or resend_api.name_of(sender),
        url=settings.optional("APP_URL", ""),
        support_email=support,
        logo_url=settings.optional("LOGO_URL", ""),
    )
    rendered = render(email, brand)
    email_id = resend_api.send(
        {
            "from": sender,
            "to": email.to,
            "subject": rendered.subject,
            "html": rendered.html,
            "text": rendered.text,
            "cc": email.cc,
            "bcc": email.bcc,
            "reply_to": email.reply_to or ([support] if support else []),
            "tags": tags(email, context.job_id),
        },
        api_key=settings.require("RESEND_API_KEY"),
        api_url=settings.optional("RESEND_API_URL", "https://api.resend.com"),
        idempotency_key=idempotency_key(email, context.idempotency_key),
        seconds=context.remaining_seconds(),
    )
    # Addresses and links stay out of the log: a reset link is a password.
    context.logger.info("email sent", email_id=email_id, template=email.template)
    return SentEmail(email_id=email_id, to=email.to, subject=rendered.subject)


def tags(email: Email, job_id: str) -> list[dict[str, str]]:
    """The email's own, and by which job and template it was sent: Resend's webhooks bring them back
    (functions/process_webhook). A job id of another make, of letters that no tag may have, is left
    out."""
    named = {**email.tags, "template": email.template}
    if re.fullmatch(r"[A-Za-z0-9_-]{1,256}", job_id):
        named["job_id"] = job_id
    return [{"name": name, "value": value} for name, value in named.items()]


def idempotency_key(email: Email, job_key: str) -> str:
    """Resend's key: the job's, and which payload it had.

    Every attempt at the same payload has the same key, so a crash between Resend's answer and
    our record sends nothing twice. An operator who corrects the payload and retries sends a new
    email. Resend takes 256 characters at most; a longer job key is replaced by its hash.
    """
    payload = email.model_dump_json(by_alias=True, exclude_unset=True)
    if len(job_key) > 200 or not (job_key.isascii() and job_key.isprintable()):
        job_key = sha256(job_key.encode()).hexdigest()
    return f"{job_key}/{sha256(payload.encode()).hexdigest()[:16]}"


handler = send_email.handler
