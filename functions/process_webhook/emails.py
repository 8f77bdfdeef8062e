"""The table `emails`: what became of each email, from Resend's events."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from functions.process_webhook import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

Status = Literal["sent", "delayed", "delivered", "bounced", "complained", "failed", "suppressed"]


@dataclass(frozen=True, slots=True)
class EmailStatus:
    """How an email stood at a moment.

    Attributes:
        email_id: Resend's id, which is also in the send-email job's result.
        job_id: The job that sent it; None where it was not one of ours.
        template: Likewise.
        recipients: Whom the status is about.
        subject: The email's.
        status: What happened last, or worst.
        reason: Why it did not arrive.
        status_at: When that happened.
        sent_at: When the email was made at Resend.
    """

    email_id: str
    job_id: str | None
    template: str | None
    recipients: list[str]
    subject: str
    status: Status
    reason: str | None
    status_at: datetime
    sent_at: datetime


BAD: list[Status] = ["bounced", "complained", "failed", "suppressed"]


def record(connection: Connection, email: EmailStatus) -> bool:
    """Bring the email's row up to date. False where it knew of something newer, or worse."""
    return (
        connection.execute(sql.RECORD_EMAIL, {**asdict(email), "bad": BAD}).fetchone() is not None
    )
