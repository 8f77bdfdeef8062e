"""What each of Stripe's errors means for the job."""

from typing import Any

import pytest
import stripe

from functions.process_stripe_webhook.stripe_api import (
    NotAtStripeError,
    StripeUnavailableError,
    meaning,
)
from stashjobs import PermanentError, RetryLater


@pytest.mark.parametrize(("header", "least"), [({}, 2), ({"retry-after": "40"}, 40)])
def test_a_rate_limit_says_when_to_come_back(header: dict[str, str], least: int) -> None:
    found = meaning(stripe.RateLimitError("slow down", http_status=429, headers=header))
    assert isinstance(found, RetryLater)
    assert least <= found.seconds <= least + 3


@pytest.mark.parametrize("status", [500, 502, 503, 409, 424, None])
def test_what_stripe_will_get_over_is_tried_again(status: int | None) -> None:
    found = meaning(stripe.APIError("oops", http_status=status))
    assert isinstance(found, StripeUnavailableError)


def test_stripe_may_say_when_it_will_be_back() -> None:
    found = meaning(stripe.APIError("down", http_status=503, headers={"Retry-After": "9"}))
    assert isinstance(found, RetryLater)
    assert found.seconds == 9


def test_no_answer_at_all_is_tried_again() -> None:
    error = stripe.APIConnectionError("no route")  # type: ignore[no-untyped-call]
    assert isinstance(meaning(error), StripeUnavailableError)


@pytest.mark.parametrize(
    "error",
    [
        stripe.AuthenticationError("Invalid API Key provided: sk_****1234", http_status=401),
        stripe.PermissionError("may not read invoices", http_status=403),
    ],
)
def test_a_wrong_key_names_the_setting(error: stripe.StripeError) -> None:
    found = meaning(error)
    assert isinstance(found, PermanentError)
    assert "STRIPE_SECRET_KEY" in str(found)


def test_an_invalid_request_is_permanent_and_a_missing_object_is_its_own_case() -> None:
    refused: Any = stripe.InvalidRequestError
    assert type(meaning(refused("no such parameter", "expand", http_status=400))) is PermanentError
    missing = meaning(refused("No such subscription", "id", http_status=404))
    assert isinstance(missing, NotAtStripeError)
