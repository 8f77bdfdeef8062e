"""Resend: the key is good, and the sender's domain is verified."""

from __future__ import annotations

from typing import Any

from stashjobs.config import settings
from stashjobs.job_type import is_left_out
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

API_URL = "https://api.resend.com"
TIMEOUT_SECONDS = 8


def sender_is_verified() -> Verdict:
    """Resend would take what send-email sends."""
    if is_left_out("send-email"):
        return not_checked("send-email is left out of this stage")
    domain = settings.require("RESEND_FROM_EMAIL").rpartition("@")[2].rstrip("> ").lower()
    key = settings.require("RESEND_API_KEY")
    import resend
    from resend.exceptions import ResendError

    resend.api_key = key
    resend.api_url = settings.optional("RESEND_API_URL", API_URL).rstrip("/")
    resend.default_http_client = resend.RequestsClient(timeout=TIMEOUT_SECONDS)
    try:
        domains: list[Any] = list(resend.Domains.list({"limit": 100})["data"])
    except ResendError as error:
        return refusal(error.error_type, str(error.message))
    for found in domains:
        if found["name"].lower() == domain:
            return _judge(domain, found["status"])
    if settings.stage() == "local":
        return not_checked("the local mailbox takes every sender")
    then = f"add {domain} at https://resend.com/domains, or correct RESEND_FROM_EMAIL"
    return red(f"Resend does not know the sender's domain {domain}", then)


def refusal(kind: str, message: str) -> Verdict:
    """What it means that Resend did not tell its domains."""
    if kind == "restricted_api_key":
        return not_checked(
            "the key may only send, which is good",
            "look at https://resend.com/domains: is the sender's domain verified?",
        )
    if kind in {"missing_api_key", "invalid_api_key"}:
        return red("Resend does not know the key", "set RESEND_API_KEY to one of this account")
    if kind == "HttpClientError":  # the SDK's name for "no answer at all"
        return red("Resend cannot be reached", "may this machine reach api.resend.com?")
    return red(f"Resend answered {kind}: {message}", "try again; see https://status.resend.com")


def _judge(domain: str, status: str) -> Verdict:
    if status == "verified":
        return green(f"{domain} is verified")
    if status in {"pending", "temporary_failure"}:
        return yellow(f"{domain} is {status}", "wait, or look at its records at Resend")
    return red(f"{domain} is {status}", f"set the DNS records of {domain} that Resend shows")


CHECKS = (Check("sender's domain", sender_is_verified),)
