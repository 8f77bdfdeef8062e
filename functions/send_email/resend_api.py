"""Resend, through its own SDK, and what each of its errors means for the job.

The SDK's own HTTP client is `requests`, whose import takes longer than all the rest of the SDK's.
So the SDK gets one by the standard library.
"""

from __future__ import annotations

import json as json_text
import math
import random
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from functools import cache
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast

from functions.send_email.deferred import deferred
from functions.send_email.models import bare_address, display_name
from stashjobs import DeadlineNear, PermanentError, RetryLater, Snooze
from stashjobs.retry_after import retry_after

# 42 ms of a cold start (benchmarks/RESULTS.md, "Cold start").
with deferred("requests", "httpx"):
    import resend
from resend.exceptions import NoContentError, ResendError

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = 86_400.0


class ResendUnavailableError(Exception):
    """Resend could not be reached, or had an error of its own: worth another attempt."""


class StandardClient(resend.HTTPClient):
    """The SDK's way to Resend, by the standard library (`resend.http_client.HTTPClient` is made to
    be replaced). It goes through the proxy that the environment names, and follows no redirect,
    which would take the API key along.

    Args:
        timeout: Of a connection and of each wait for bytes, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, status and headers of the answer.

        Raises:
            RuntimeError: There was none. The SDK makes a ResendError of it.
            PermanentError: It leads elsewhere, or the URL is not one of http or https.
        """
        if files is not None or data is not None:
            usual = resend.RequestsClient(math.ceil(self._timeout))
            return usual.request(method, url, headers, json, files, data)
        request = urllib.request.Request(  # noqa: S310 - the SDK's own URL
            url,
            None if json is None else json_text.dumps(json, allow_nan=False).encode(),
            {**headers, "Content-Type": "application/json"},
            method=method.upper(),
        )
        try:
            with _opener(request.type).open(request, timeout=self._timeout) as answer:
                content, status, told = answer.read(), answer.status, dict(answer.headers)
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise RuntimeError(f"{type(reason).__name__}: {reason}") from error
        if 300 <= status < 400:
            place = answer.headers.get("Location", "elsewhere")
            raise PermanentError(
                f"Resend answered {status}: it is at {place} now. Set RESEND_API_URL, then retry."
            )
        return content, status, told


@cache
def _opener(scheme: str) -> urllib.request.OpenerDirector:
    """No more than it takes: what `urlopen` would add raises errors for answers, and reads the
    machine's certificates also for http."""
    if scheme not in {"http", "https"}:
        raise PermanentError("RESEND_API_URL must start with https:// (or http://).")
    kind = urllib.request.HTTPSHandler if scheme == "https" else urllib.request.HTTPHandler
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(kind())
    return opener


def name_of(sender: str) -> str:
    """`Acme` for `Acme <hello@acme.com>`, and for `hello@mail.acme.com` its domain."""
    return display_name(sender) or bare_address(sender).rpartition("@")[2] or sender


def send(
    message: dict[str, Any], *, api_key: str, api_url: str, idempotency_key: str, seconds: float
) -> str:
    """Send it and return Resend's id.

    Raises:
        RetryLater: Resend says when to come back.
        Snooze: A quota is used up; until it opens no attempt is.
        ResendUnavailableError: try again on the job's own schedule.
        PermanentError: no attempt will succeed until a person changes something.
        DeadlineNear: the worker's, let through.
    """
    resend.api_key = api_key
    resend.api_url = api_url.rstrip("/")
    # Time enough to write down what happened must be left; the key makes a timeout harmless.
    timeout = math.floor(min(max(seconds - 3, 1), 30))
    resend.default_http_client = StandardClient(timeout)
    given = {key: value for key, value in message.items() if value}
    try:
        answer = resend.Emails.send(
            cast("resend.Emails.SendParams", given), {"idempotency_key": idempotency_key}
        )
    except ResendError as error:
        # The SDK turns every exception into its own, also the worker's signal to stop.
        if isinstance(error.__context__, DeadlineNear | PermanentError):
            raise error.__context__ from None
        raise meaning(error) from error
    except NoContentError as error:
        raise ResendUnavailableError(error.message) from error
    email_id = answer.get("id")
    if not email_id:
        raise ResendUnavailableError("Resend answered without an email id")
    return email_id


def meaning(error: ResendError) -> Exception:
    """What the job should do about an error of Resend (https://resend.com/docs/api-reference/errors)."""
    status, kind = int(error.code), error.error_type
    told = f"Resend answered {status} {kind}: {error.message}"
    wait = retry_after(error.headers, longest=DAY)

    if kind == "daily_quota_exceeded":
        return Snooze(told, seconds=max(wait or 0, _until_tomorrow()))
    if kind == "monthly_quota_exceeded":
        # Resend does not say when the month ends, or when another plan begins: asked every day.
        return Snooze(told, seconds=DAY + random.uniform(60, 600))
    if status == 429:
        # A little apart, so that the jobs that were refused together do not return together.
        wait = min((2 if wait is None else wait) + random.uniform(0, 3), DAY)
    elif kind == "concurrent_idempotent_requests":
        wait = 5 if wait is None else wait
    elif kind == "HttpClientError":  # the SDK's name for "no answer at all"
        return ResendUnavailableError(f"Resend could not be reached: {error.message}")
    elif not (status >= 500 or status in {408, 425}):
        return PermanentError(f"{told}{_advice(status, kind)}")
    return ResendUnavailableError(told) if wait is None else RetryLater(wait, told)


def _advice(status: int, kind: str) -> str:
    if kind in {"missing_api_key", "invalid_api_key", "restricted_api_key"} or status == 401:
        return " Set RESEND_API_KEY to a key of this account that may send."
    if status == 403 or kind == "invalid_from_address":
        return " RESEND_FROM_EMAIL must be an address of a domain verified in Resend."
    if status == 404:
        return " Is RESEND_API_URL right?"
    if kind == "invalid_idempotent_request":
        return (
            " An email of this job was already accepted, and its content was another:"
            " a deploy or a setting changed it between two attempts."
        )
    return ""


def _until_tomorrow() -> float:
    """Until the quota's next day, and some minutes: everyone waits for midnight."""
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return min((midnight - now).total_seconds() + random.uniform(60, 600), DAY)
