"""What each of Resend's errors means for the job."""

from datetime import UTC, datetime, timedelta

import pytest
from resend.exceptions import ResendError

from functions.send_email.models import Email
from functions.send_email.resend_api import (
    DAY,
    ResendUnavailableError,
    meaning,
    name_of,
)
from stashjobs import PermanentError, RetryLater, Snooze


def error(status: int | str, kind: str, **headers: str) -> ResendError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResendError(status, kind, "the reason", "", named)


def wait(status: int, kind: str, **headers: str) -> float:
    found = meaning(error(status, kind, **headers))
    assert isinstance(found, RetryLater)
    return found.seconds


def snooze(status: int, kind: str, **headers: str) -> float:
    found = meaning(error(status, kind, **headers))
    assert isinstance(found, Snooze)
    return (found.until - datetime.now(UTC)).total_seconds()


PERMANENT = [
    (400, "validation_error"),
    (400, "invalid_idempotency_key"),
    (401, "missing_api_key"),
    (401, "restricted_api_key"),
    (403, "invalid_api_key"),
    (403, "validation_error"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (409, "invalid_idempotent_request"),
    (413, "application_error"),
    (422, "missing_required_field"),
    (422, "invalid_from_address"),
    (451, "security_error"),
]


def test_what_only_a_person_can_change_is_permanent() -> None:
    passing = [each for each in PERMANENT if not isinstance(meaning(error(*each)), PermanentError)]
    assert passing == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, "application_error"),
        (500, "internal_server_error"),
        ("502", "application_error"),
        (503, "application_error"),
        (408, "application_error"),
        (500, "HttpClientError"),
    ],
)
def test_a_fault_on_the_way_or_over_there_is_tried_again(status: int | str, kind: str) -> None:
    assert isinstance(meaning(error(status, kind)), ResendUnavailableError)


def test_a_fault_over_there_that_names_a_time_is_tried_again_then() -> None:
    assert wait(503, "application_error", Retry_After="30") == 30


def test_a_rate_limit_waits_as_long_as_resend_says_and_spreads_out() -> None:
    assert 7 <= wait(429, "rate_limit_exceeded", retry_after="7") <= 10


def test_a_rate_limit_without_a_time_waits_a_moment() -> None:
    assert 2 <= wait(429, "rate_limit_exceeded") <= 5


def test_a_daily_quota_waits_for_the_next_day() -> None:
    midnight = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    until = (midnight - datetime.now(UTC)).total_seconds()
    put_off = snooze(429, "daily_quota_exceeded", retry_after="1")
    assert min(until, DAY) - 5 < put_off <= min(until + 602, DAY)


def test_a_monthly_quota_is_asked_for_every_day() -> None:
    assert DAY < snooze(429, "monthly_quota_exceeded") < DAY + 602


def test_the_same_key_in_flight_waits_for_the_other_request() -> None:
    assert wait(409, "concurrent_idempotent_requests") == 5


@pytest.mark.parametrize(
    ("status", "kind", "setting"),
    [
        (401, "missing_api_key", "RESEND_API_KEY"),
        (403, "invalid_api_key", "RESEND_API_KEY"),
        (403, "validation_error", "RESEND_FROM_EMAIL"),
        (422, "invalid_from_address", "RESEND_FROM_EMAIL"),
        (404, "not_found", "RESEND_API_URL"),
    ],
)
def test_a_wrong_setting_is_named(status: int, kind: str, setting: str) -> None:
    assert setting in str(meaning(error(status, kind)))


def test_the_product_is_called_what_the_sender_is_called() -> None:
    assert name_of("Acme Inc <hello@acme.example>") == "Acme Inc"
    assert name_of("hello@acme.example") == "acme.example"


def test_the_idempotency_key_is_the_same_for_the_same_payload_and_fits_resend() -> None:
    from functions.send_email.handler import idempotency_key

    given = {
        "to": "ada@example.com",
        "template": "welcome",
        "data": {"name": "Ada", "getStartedUrl": "https://a.example"},
    }
    email = Email.model_validate(given)
    again = Email.model_validate(email.model_dump(mode="json", by_alias=True, exclude_unset=True))
    corrected = Email.model_validate({**given, "to": "ada@example.org"})
    assert idempotency_key(email, "job-1") == idempotency_key(again, "job-1")
    assert idempotency_key(email, "job-1") != idempotency_key(corrected, "job-1")
    assert idempotency_key(email, "job-1") != idempotency_key(email, "job-2")
    assert len(idempotency_key(email, "welcome:" + "x" * 500)) <= 256
    assert idempotency_key(email, "willkommen:größe\r\n").isascii()
