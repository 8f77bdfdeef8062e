"""Where the next page of a list begins, as a text for a URL."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime


def write(created_at: datetime, job_id: str) -> str:
    """The cursor of the page after this job."""
    text = json.dumps([created_at.isoformat(), job_id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def read(cursor: str) -> tuple[datetime, str]:
    """The job that a cursor is about.

    Raises:
        ValueError: `write` did not make it.
    """
    try:
        created_at, job_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(created_at)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise ValueError("this is not a cursor") from error
    if moment.tzinfo is None or not isinstance(job_id, str):
        raise ValueError("this is not a cursor")
    return moment, job_id
