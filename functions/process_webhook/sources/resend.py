"""Resend: what became of an email (Resend docs, "Event Types" and the page of each event)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from functions.process_webhook import emails
from functions.process_webhook.received import Received
from functions.process_webhook.registry import on

if TYPE_CHECKING:
    from stashjobs import Context


def _time(value: Any) -> Any:
    """Resend's own pages write times with T or a space, and with Z, +00 or +00:00."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _tags(value: Any) -> Any:
    """An object, as in Resend's SDKs; its page "Body Parameters" has an array of name and value.
    A tag without a text says nothing."""
    if isinstance(value, list):
        value = {each.get("name"): each.get("value") for each in value if isinstance(each, dict)}
    if isinstance(value, dict):
        return {name: tag for name, tag in value.items() if name and isinstance(tag, str)}
    return value


def _recipients(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Time = Annotated[datetime, BeforeValidator(_time)]


class Bounce(Received):
    type: str = ""
    subType: str = ""  # noqa: N815 - Resend's name
    message: str = ""


class Failed(Received):
    reason: str = ""


class Suppressed(Received):
    type: str = ""
    message: str = ""


class Email(Received):
    """`to` has those whom the event is about, which need not be all whom the email went to."""

    email_id: str
    created_at: Time
    to: Annotated[list[str], BeforeValidator(_recipients)] = Field(default_factory=list)
    subject: str = ""
    tags: Annotated[dict[str, str], BeforeValidator(_tags)] = Field(default_factory=dict)
    bounce: Bounce | None = None
    failed: Failed | None = None
    suppressed: Suppressed | None = None

    @property
    def reason(self) -> str | None:
        """Why it did not arrive."""
        if self.bounce is not None:
            kind = " ".join(filter(None, [self.bounce.type, self.bounce.subType]))
            return ": ".join(filter(None, [kind, self.bounce.message])) or None
        if self.suppressed is not None:
            return self.suppressed.message or None
        return (self.failed.reason or None) if self.failed is not None else None


class EmailEvent(Received):
    """`created_at` is when the event happened, `data.created_at` when the email was made."""

    type: str
    created_at: Time
    data: Email


class Known(BaseModel):
    """`changed` is False where the email's record knew better: something newer, or worse."""

    emailId: str  # noqa: N815 - the wire's name
    status: emails.Status
    changed: bool


STATUSES: dict[str, emails.Status] = {
    "email.sent": "sent",
    "email.delivered": "delivered",
    "email.delivery_delayed": "delayed",
    "email.bounced": "bounced",
    "email.complained": "complained",
    "email.failed": "failed",
    "email.suppressed": "suppressed",
}


@on("resend", *STATUSES)
def email_event(event: EmailEvent, context: Context) -> Known:
    """Note in `emails` how the email stands."""
    about = event.data
    known = emails.EmailStatus(
        email_id=about.email_id,
        job_id=about.tags.get("job_id"),
        template=about.tags.get("template"),
        recipients=about.to,
        subject=about.subject,
        status=STATUSES[event.type],
        reason=about.reason,
        status_at=event.created_at,
        sent_at=about.created_at,
    )
    changed = emails.record(context.connection, known)
    return Known(emailId=about.email_id, status=known.status, changed=changed)
