"""stashjobs: background jobs for AWS Lambda, delivered by QStash, recorded in Postgres.

from stashjobs import Context, job

@job("send-email", endpoint="/api/jobs/email", retries=3, timeout=30)
def send_email(email: Email, context: Context) -> SentEmail: ...

handler = send_email.handler                       # what Lambda calls
send_email.enqueue(Email(...), user_id="u_1")      # what an app calls
"""

from stashjobs.delivery.context import Context
from stashjobs.errors import (
    Cancelled,
    DeadlineNear,
    InvalidPayload,
    PayloadTooLarge,
    PermanentError,
    RetryLater,
    SealError,
    SettingError,
    StashjobsError,
    UnknownJobType,
)
from stashjobs.job import Job, job

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Context",
    "DeadlineNear",
    "InvalidPayload",
    "Job",
    "PayloadTooLarge",
    "PermanentError",
    "RetryLater",
    "SealError",
    "SettingError",
    "StashjobsError",
    "UnknownJobType",
    "job",
]
