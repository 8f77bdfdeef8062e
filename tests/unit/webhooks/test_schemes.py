"""How sources sign: their own documented examples, and every check that can fail."""

from __future__ import annotations

import base64
import hmac
from typing import Any, Literal

import pytest

from functions.webhooks.schemes import HmacScheme, NotSigned, StripeScheme
from functions.webhooks.sources import GITHUB, RESEND
from tests.webhooks import RESEND_SECRET

NOW = 1_700_000_000.0
KEY = b"a-secret-of-the-test"


def refused(scheme: Any, headers: dict[str, str], body: bytes = b"{}", **options: Any) -> str:
    """The word for the check that failed."""
    with pytest.raises(NotSigned) as error:
        scheme.verify(headers, body, **{"keys": [KEY], "now": NOW} | options)
    assert KEY.decode() not in str(error.value)
    return error.value.reason


def test_github_s_documented_example() -> None:
    """GitHub docs, "Validating webhook deliveries", "Testing the webhook payload validation"."""
    signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    GITHUB.scheme.verify(
        {"x-hub-signature-256": f"sha256={signature}"},
        b"Hello, World!",
        keys=[b"It's a Secret to Everybody"],
    )


def test_svix_s_documented_example() -> None:
    """Svix docs, "How to Verify Webhooks with the Svix Libraries"."""
    RESEND.scheme.verify(
        {
            "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "svix-timestamp": "1614265330",
            "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
        keys=[base64.b64decode(RESEND_SECRET.removeprefix("whsec_"))],
        now=1614265330,
    )


# --- an HMAC in a header


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_every_algorithm_and_encoding(
    algorithm: Literal["sha1", "sha256", "sha512"], encoding: Literal["hex", "base64"]
) -> None:
    digest = hmac.digest(KEY, b"\xff\x00", algorithm)
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    scheme = HmacScheme(header="x", algorithm=algorithm, encoding=encoding, prefix="p=")
    scheme.verify({"x": f"p={text}"}, b"\xff\x00", keys=[KEY])
    assert refused(scheme, {"x": f"p={text}"}, b"\xff\x01") == "signature"


PLAIN = HmacScheme(header="x", prefix="v1=")
SIGNED = hmac.digest(KEY, b"{}", "sha256").hex()


def test_hexadecimal_may_be_in_capitals() -> None:
    PLAIN.verify({"x": f"v1={SIGNED.upper()}"}, b"{}", keys=[KEY])


def test_one_of_several_signatures_and_one_of_several_keys_will_do() -> None:
    PLAIN.verify({"x": f"v0=1 v1=2 v1={SIGNED}"}, b"{}", keys=[b"another", KEY])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"x": ""}, "missing"),
        ({"x": SIGNED}, "malformed"),
        ({"x": f"v2={SIGNED}"}, "malformed"),
        ({"x": "v1="}, "signature"),
        ({"x": f"v1={SIGNED[:-1]}"}, "signature"),
        ({"x": "v1=é\ud800"}, "signature"),
    ],
)
def test_what_is_no_signature(headers: dict[str, str], reason: str) -> None:
    assert refused(PLAIN, headers) == reason


def test_no_key_is_no_proof() -> None:
    assert refused(PLAIN, {"x": f"v1={SIGNED}"}, keys=[]) == "signature"


TIMED = HmacScheme(
    header="x", signed="v0:{timestamp}:{body}", timestamp_header="x-time", tolerance=60
)


def timed(sent: object) -> dict[str, str]:
    signed = hmac.digest(KEY, f"v0:{sent}:{{}}".encode(), "sha256").hex()
    return {"x": signed, "x-time": str(sent)}


@pytest.mark.parametrize("sent", [NOW - 60, NOW, NOW + 60])
def test_a_time_within_the_tolerance(sent: float) -> None:
    TIMED.verify(timed(int(sent)), b"{}", keys=[KEY], now=NOW)


@pytest.mark.parametrize("sent", [NOW - 61, NOW + 61, 0, 10**30])
def test_a_time_out_of_tolerance(sent: float) -> None:
    assert refused(TIMED, timed(int(sent))) == "time"


def test_a_time_that_was_changed_does_not_fit_the_signature() -> None:
    assert refused(TIMED, timed(int(NOW)) | {"x-time": str(int(NOW) + 1)}) == "signature"


@pytest.mark.parametrize("sent", ["soon", "1e9", "9" * 5000])
def test_a_time_that_is_none(sent: str) -> None:
    assert refused(TIMED, timed(sent)) == "malformed"


# --- Stripe's


def stripe(sent: object = int(NOW), *, extra: str = "", body: bytes = b"{}") -> dict[str, str]:
    signed = hmac.digest(KEY, f"{sent}.".encode() + body, "sha256").hex()
    return {"stripe-signature": f"t={sent},v1={signed}{extra}"}


def test_stripe_s_signature_fits_bytes_of_any_kind() -> None:
    headers = stripe(body=b"\xff\xfe")
    StripeScheme().verify(headers, b"\xff\xfe", keys=[b"old", KEY], now=NOW)


def test_other_schemes_beside_stripe_s_v1_are_passed_over() -> None:
    StripeScheme().verify(stripe(extra=",v0=1,v1=2,x"), b"{}", keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"stripe-signature": "nothing"}, "malformed"),
        ({"stripe-signature": "t=1"}, "malformed"),
        ({"stripe-signature": "v1=1"}, "malformed"),
        ({"stripe-signature": "t,v1=1"}, "malformed"),
        ({"stripe-signature": "t=1,v1"}, "malformed"),
        ({"stripe-signature": "t=x,v1=1"}, "malformed"),
        ({"stripe-signature": f"t={int(NOW)},v1=1"}, "signature"),
        ({"stripe-signature": f"t={int(NOW)},v0={SIGNED}"}, "malformed"),
        (stripe(int(NOW) - 301), "time"),
    ],
)
def test_what_is_no_signature_of_stripe_s(headers: dict[str, str], reason: str) -> None:
    assert refused(StripeScheme(), headers) == reason
