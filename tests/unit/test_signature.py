"""What the signature check promises, one behaviour a test. The oracle is in tests/property."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from stashjobs.delivery.signature import verify
from stashjobs.errors import InvalidSignature

CURRENT = "sig_current_0123456789abcdefghij"
NEXT = "sig_next_0123456789abcdefghijklm"
STRANGER = "sig_stranger_0123456789abcdefghi"
URL = "https://abc.lambda-url.eu-west-1.on.aws/"
BODY = b'{"job_id": "1"}'
NOW = 1_700_000_000


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def claims_for(body: bytes = BODY, **changed: object) -> dict[str, object]:
    return {
        "iss": "Upstash",
        "sub": URL,
        "exp": NOW + 300,
        "nbf": NOW,
        "iat": NOW,
        "jti": "jwt_1",
        "body": b64(hashlib.sha256(body).digest()),
    } | changed


def sign(
    claims: object, key: str = CURRENT, header: object = None, algorithm: str = "sha256"
) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"} if header is None else header, claims]
    signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{b64(hmac.digest(key.encode(), signed.encode(), algorithm))}"


def check(token: str | None, body: bytes = BODY, **options: Any) -> None:
    defaults: dict[str, Any] = {"keys": (CURRENT, NEXT), "urls": {URL}, "now": NOW}
    verify(token, body, **(defaults | options))


def refused(token: str | None, body: bytes = BODY, **options: Any) -> str:
    with pytest.raises(InvalidSignature) as refusal:
        check(token, body, **options)
    return refusal.value.reason


# ------------------------------------------------------------------ accepted


def test_a_delivery_signed_with_the_current_key_is_accepted() -> None:
    check(sign(claims_for()))


def test_a_delivery_signed_with_the_next_key_is_accepted() -> None:
    check(sign(claims_for(), key=NEXT))


def test_a_body_that_is_not_utf8_is_verified_as_bytes() -> None:
    body = b"\xff\xfe\x00\x80"
    check(sign(claims_for(body)), body)


def test_an_empty_body_is_verified_like_any_other() -> None:
    check(sign(claims_for(b"")), b"")


def test_a_padded_body_hash_is_accepted_as_in_the_docs_example() -> None:
    check(sign(claims_for(body=BODY) | {"body": str(claims_for()["body"]) + "="}))


def test_any_of_several_urls_may_be_the_subject() -> None:
    check(sign(claims_for()), urls=["https://jobs.example.com/", URL])


def test_the_clock_is_read_when_no_time_is_given() -> None:
    made = int(time.time())
    check(sign(claims_for(nbf=made, iat=made, exp=made + 300)), now=None)
    old = made - 306
    assert refused(sign(claims_for(nbf=old, iat=old, exp=old + 300)), now=None) == "expired"


# ------------------------------------------------------------------ the token's form


@pytest.mark.parametrize("token", [None, ""])
def test_a_request_without_the_header_is_missing_it(token: str | None) -> None:
    assert refused(token) == "missing"


def test_what_is_no_token_is_malformed() -> None:
    tokens = [".", "..", "a.b", "a.b.c", "a.b.c.d", "\ud800.é.\x00", "[]", "Bearer " + "A" * 40]
    assert {token: refused(token) for token in tokens} == dict.fromkeys(tokens, "malformed")


def test_a_fourth_part_is_malformed() -> None:
    assert refused(sign(claims_for()) + ".AAAA") == "malformed"


def test_complete_padding_is_accepted_and_incomplete_is_malformed() -> None:
    token = sign(claims_for())  # a MAC of 32 bytes: 43 letters and one =
    check(token + "=")
    assert refused(token + "==") == "malformed"


@pytest.mark.parametrize(
    "header",
    [[], "HS256", 1, {"alg": "HS256", "crit": ["exp"]}, {"alg": "HS256", "b64": False}],
)
def test_a_header_that_is_no_object_or_asks_for_extensions_is_malformed(header: object) -> None:
    assert refused(sign(claims_for(), header=header)) == "malformed"


def test_a_deeply_nested_header_is_malformed_and_no_crash() -> None:
    assert refused(f"{b64(b'[' * 100_000)}.e30.AAAA") == "malformed"


def test_a_second_spelling_of_the_same_signature_is_malformed() -> None:
    token = sign(claims_for())
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = token[:-1] + last[last.index(token[-1]) + 1]  # differs in two unused bits
    assert refused(respelled) == "malformed"


@pytest.mark.parametrize("claims", [[], "claims", None, 1])
def test_signed_claims_that_are_no_object_are_malformed(claims: object) -> None:
    assert refused(sign(claims)) == "malformed"


# ------------------------------------------------------------------ the algorithm


@pytest.mark.parametrize("name", ["none", "None", "", "hs256", "RS256", "ES256", None, ["HS256"]])
def test_no_algorithm_but_hs256_is_accepted(name: object) -> None:
    assert refused(sign(claims_for(), header={"alg": name, "typ": "JWT"})) == "algorithm"


@pytest.mark.parametrize(("name", "digest"), [("HS384", "sha384"), ("HS512", "sha512")])
def test_a_correct_hmac_with_another_hash_is_not_accepted(name: str, digest: str) -> None:
    assert refused(sign(claims_for(), header={"alg": name}, algorithm=digest)) == "algorithm"


def test_an_unsigned_token_is_not_accepted() -> None:
    unsigned = sign(claims_for(), header={"alg": "none"}).rpartition(".")[0] + "."
    assert refused(unsigned) == "algorithm"


# ------------------------------------------------------------------ the signature and the keys


def test_a_key_of_someone_else_is_not_accepted() -> None:
    assert refused(sign(claims_for(), key=STRANGER)) == "signature"


def test_an_empty_signature_is_not_accepted() -> None:
    assert refused(sign(claims_for()).rpartition(".")[0] + ".") == "signature"


def test_changed_claims_break_the_signature() -> None:
    header, _, mac = sign(claims_for()).split(".")
    forged = b64(json.dumps(claims_for(sub="https://evil.example/")).encode())
    assert refused(f"{header}.{forged}.{mac}") == "signature"


def test_claims_are_not_decoded_before_the_signature_is_proven() -> None:
    header, _, mac = sign(claims_for()).split(".")
    assert refused(f"{header}.!not-base64!.{mac}") == "signature"


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_a_blank_key_never_verifies_anything(blank: str) -> None:
    assert refused(sign(claims_for(), key=blank), keys=(CURRENT, blank)) == "signature"
    assert refused(sign(claims_for(), key=blank), keys=(blank, NEXT)) == "signature"


def test_the_next_key_alone_is_enough() -> None:
    check(sign(claims_for(), key=NEXT), keys=("", NEXT))


@pytest.mark.parametrize("keys", [(), ("",), ("", " ")])
@pytest.mark.parametrize("token", [None, "", "a.b.c"])
def test_no_usable_key_is_a_fault_of_the_configuration(
    keys: tuple[str, ...], token: str | None
) -> None:
    with pytest.raises(ValueError, match="QSTASH_CURRENT_SIGNING_KEY"):
        check(token, keys=keys)


def test_one_string_in_place_of_several_keys_is_refused_rather_than_spelled_out() -> None:
    with pytest.raises(TypeError):
        check(sign(claims_for(), key="s"), keys=CURRENT)


def test_one_string_in_place_of_several_urls_is_refused_rather_than_searched() -> None:
    with pytest.raises(TypeError):
        check(sign(claims_for(sub="https://")), urls=URL)


# ------------------------------------------------------------------ the claims


@pytest.mark.parametrize("name", ["iss", "sub", "exp", "nbf", "body"])
def test_a_token_without_a_required_claim_is_not_accepted(name: str) -> None:
    without = claims_for()
    del without[name]
    assert refused(sign(without)) == "claims"
    assert refused(sign(claims_for() | {name: None})) == "claims"


@pytest.mark.parametrize("issuer", ["upstash", "Upstash ", "", ["Upstash"], 1])
def test_the_issuer_is_upstash(issuer: object) -> None:
    assert refused(sign(claims_for(iss=issuer))) == "issuer"


@pytest.mark.parametrize("subject", [URL + "x", URL[:-1], URL.upper(), "", [URL], {"a": 1}, 7])
def test_the_subject_is_the_url_that_was_called(subject: object) -> None:
    assert refused(sign(claims_for(sub=subject))) == "subject"


def test_without_a_url_nothing_is_accepted() -> None:
    assert refused(sign(claims_for()), urls=()) == "subject"


@pytest.mark.parametrize("audience", ["someone", ["someone"], {"a": 1}, True])
def test_a_token_for_an_audience_is_not_for_us(audience: object) -> None:
    assert refused(sign(claims_for(aud=audience))) == "audience"


def test_another_body_is_not_accepted() -> None:
    assert refused(sign(claims_for()), BODY + b" ") == "body"


@pytest.mark.parametrize("hashed", ["", "=", "é", "\ud800", "0" * 43])
def test_a_body_hash_that_is_no_hash_is_not_accepted(hashed: str) -> None:
    assert refused(sign(claims_for() | {"body": hashed})) == "body"


@pytest.mark.parametrize("odd", [{"body": 1}, {"body": ["x"]}, {"jti": 1}, {"jti": None}])
def test_claims_of_the_wrong_type_are_not_accepted(odd: dict[str, object]) -> None:
    assert refused(sign(claims_for() | odd)) == "claims"


# ------------------------------------------------------------------ the time


def test_a_token_is_valid_until_five_seconds_after_exp_and_not_at_that_second() -> None:
    token = sign(claims_for(exp=NOW))
    check(token, now=NOW + 4.999)
    assert refused(token, now=NOW + 5) == "expired"


def test_a_token_is_valid_from_five_seconds_before_nbf_and_at_that_second() -> None:
    token = sign(claims_for(nbf=NOW, iat=NOW - 60))
    check(token, now=NOW - 5)
    assert refused(token, now=NOW - 5.001) == "not_yet_valid"


def test_a_token_issued_in_the_future_is_not_yet_valid() -> None:
    assert refused(sign(claims_for(iat=NOW + 6))) == "not_yet_valid"


@pytest.mark.parametrize(("begins", "told"), [(NOW + 120, 120), (10**400, 10**9)])
def test_a_clock_that_is_behind_is_named_with_its_seconds(begins: int, told: int) -> None:
    with pytest.raises(InvalidSignature, match="clock is behind QStash's; set it by NTP") as caught:
        check(sign(claims_for(nbf=begins)))
    assert caught.value.seconds_behind == told
    assert f"lies {told} s in the future" in str(caught.value)


def test_the_leeway_can_be_set() -> None:
    token = sign(claims_for(exp=NOW))
    check(token, now=NOW + 59, leeway=60)
    assert refused(token, now=NOW, leeway=0) == "expired"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_that_is_none_is_not_accepted(name: str) -> None:
    odd: list[object] = ["soon", [], {}, float("inf"), float("nan"), "1e9"]
    assert {refused(sign(claims_for() | {name: each})) for each in odd} == {"claims"}


def test_a_time_with_hundreds_of_digits_is_compared_and_no_crash() -> None:
    check(sign(claims_for(exp=10**400)))
    assert refused(sign(claims_for(nbf=10**400))) == "not_yet_valid"
    assert refused(sign(claims_for(exp=-(10**400)))) == "expired"


# ------------------------------------------------------------------ what a log line may hold


def test_a_refusal_names_neither_key_nor_token_nor_an_unproven_claim() -> None:
    secret = "claim-of-an-unknown-sender"
    tokens = [
        secret,
        f"{secret}.{secret}.{secret}",
        sign(claims_for(sub=secret, iss=secret), key=STRANGER),
        sign(claims_for(sub=secret), header={"alg": secret}),
        sign(claims_for(sub=secret), header={"alg": "HS256", "kid": 1, "note": secret}),
        sign(claims_for(iss=secret, aud=secret)),
        sign(claims_for(exp=secret)),
        sign(claims_for(sub=URL + "?token=" + secret)),
        sign(claims_for() | {"body": secret}),
        sign(claims_for(jti=[secret])),
    ]
    for token in tokens:
        with pytest.raises(InvalidSignature) as refusal:
            check(token)
        message = str(refusal.value)
        assert message.startswith(("the ", "no "))
        assert "\n" not in message
        for hidden in (secret, CURRENT, NEXT, token, *token.split(".")):
            assert hidden not in message, message


def test_a_wrong_subject_is_told_since_it_is_proven_and_what_an_operator_needs() -> None:
    with pytest.raises(InvalidSignature, match=r"signed for 'https://old\.example/jobs'"):
        check(sign(claims_for(sub="https://old.example/jobs?secret=1")))


# ------------------------------------------------------------------ what it costs to import


def test_importing_it_loads_none_of_the_expensive_modules() -> None:
    program = (
        "import sys\n"
        "import stashjobs.errors\n"
        "before = set(sys.modules)\n"
        "import stashjobs.delivery.signature\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "stashjobs.delivery.signature" in run.stdout.split()
    assert not loaded & {"httpx", "jwt", "cryptography", "asyncio", "email", "qstash", "ssl"}
