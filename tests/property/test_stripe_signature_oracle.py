"""Stripe's scheme here, against Stripe's own SDK.

1. Generated headers and bodies, sound and spoiled: both accept, or both refuse.
2. The seconds around the tolerance, on a stopped clock.
3. Every intended difference, each with its reason.
"""

from __future__ import annotations

import hmac
import json
import time
from typing import TYPE_CHECKING

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.webhooks.schemes import NotSigned, StripeScheme
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = "whsec_0123456789abcdefghijklmnop"
OTHER = "whsec_of_a_stranger"
BODY = json.dumps({"id": "evt_1", "object": "event", "type": "x", "data": {"object": {}}})


def ours(header: str, body: bytes, secrets: Sequence[str] = (SECRET,), **clock: float) -> bool:
    keys = [secret.encode() for secret in secrets]
    try:
        StripeScheme().verify({"stripe-signature": header}, body, keys=keys, **clock)
    except NotSigned:
        return False
    return True


def theirs(header: str, body: bytes, secrets: Sequence[str] = (SECRET,)) -> bool:
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body, header, secret, 300)
        except stripe.SignatureVerificationError:
            continue
        return True
    return False


def signature(sent: object, body: str, secret: str = SECRET) -> str:
    return stripe.WebhookSignature._compute_signature(f"{sent}.{body}", secret)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str]:
    """A header and a body; about half of them sound."""
    body = draw(st.sampled_from([BODY, "{}", "", "grüße"]) | st.text(max_size=20))
    now = int(time.time())
    sent = now - draw(st.sampled_from([0, 0, 0, 10, 250, 350, 10**6, -100, -(10**9)]))
    spelled = draw(st.sampled_from([str(sent)] * 6 + [f" {sent}", f"+{sent}", f"0{sent}", "", "x"]))
    good = signature(sent, body)
    made = draw(
        st.lists(
            st.sampled_from(
                [
                    f"v1={good}",
                    f"v1={good}",
                    f"v1={good.upper()}",
                    f"v1={good[:-1]}",
                    f"v1={good}=tail",
                    f"v1={signature(sent, body, OTHER)}",
                    f"v1={signature(sent + 1, body)}",
                    f"v0={good}",
                    f" v1={good}",
                    "v1=",
                    "v1",
                    "t",
                    "t=1",
                    "",
                ]
            ),
            max_size=4,
        )
    )
    items = draw(st.permutations([f"t={spelled}", *made]))
    return ",".join(items), draw(st.sampled_from([body] * 5 + [f"{body} "]))


@given(requests())
@settings(max_examples=examples(150), deadline=None)
def test_both_accept_or_both_refuse(request: tuple[str, str]) -> None:
    header, body = request
    assert ours(header, body.encode()) == theirs(header, body.encode())


@given(st.text(st.characters(max_codepoint=127), max_size=60))
@settings(max_examples=examples(50), deadline=None)
def test_both_refuse_what_nobody_signed(header: str) -> None:
    assert ours(header, BODY.encode()) is theirs(header, BODY.encode()) is False


def test_the_generated_requests_are_of_both_kinds() -> None:
    seen = set()

    @given(requests())
    @settings(max_examples=examples(100), deadline=None, database=None)
    def look(request: tuple[str, str]) -> None:
        seen.add(ours(request[0], request[1].encode()))

    look()
    assert seen == {True, False}


@pytest.mark.parametrize("age", [299, 300, 301, -(10**6)])
def test_the_seconds_around_the_tolerance(age: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    sent = 1_700_000_000 - age
    header = f"t={sent},v1={signature(sent, BODY)}"
    assert ours(header, BODY.encode()) is theirs(header, BODY.encode()) is (age <= 300)


def test_what_the_sdk_signs_is_accepted_and_what_we_accept_it_can_construct() -> None:
    header = stripe.WebhookSignature.generate_signature_header(BODY, SECRET)
    assert ours(header, BODY.encode(), [OTHER, SECRET])
    assert stripe.Webhook.construct_event(BODY, header, SECRET).id == "evt_1"


# --- intended differences


def test_a_body_that_is_not_utf_8_is_refused_later_and_breaks_the_sdk() -> None:
    """Here the bytes are what is signed; that they are no JSON is said of a proven body."""
    now = int(time.time())
    signed = hmac.digest(SECRET.encode(), b"%d." % now + b"\xff", "sha256").hex()
    header = f"t={now},v1={signed}"
    assert ours(header, b"\xff")
    with pytest.raises(UnicodeDecodeError):
        theirs(header, b"\xff")


def test_a_signature_of_other_letters_is_refused_and_breaks_the_sdk() -> None:
    header = f"t={int(time.time())},v1=é"
    assert not ours(header, b"{}")
    with pytest.raises(TypeError):
        theirs(header, b"{}")
