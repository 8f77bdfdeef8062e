"""Who calls? Verification of the `Upstash-Signature` header of a QStash delivery.

The header is a JWT (RFC 7519) in JWS compact form (RFC 7515, section 7.1), signed HS256 with one
of two signing keys, whose claims name the URL that QStash calls and the hash of the body it sends.
The steps are those of Upstash's docs, "Verify Signatures" (qstash/howto/signature, section "Manual
verification"); the claims those of "Security" (qstash/features/security, "Request Signing").

Written out rather than taken from `qstash.Receiver`, because a cold start pays for every import
(Receiver brings PyJWT, and with it cryptography), because Receiver cannot hash a body that is not
UTF-8, and because its clock tolerance has no effect. On everything else the two agree; the
differences are listed, and tested, in tests/property/test_signature_oracle.py.
"""

import binascii
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Collection, Sequence

from stashjobs.errors import InvalidSignature

# A claim may be any number; a metric and a log line need not.
MAX_SECONDS_TOLD = 10**9
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def verify(
    token: str | None,
    body: bytes,
    *,
    keys: Sequence[str],
    urls: Collection[str],
    now: float | None = None,
    leeway: int = 5,
) -> None:
    """Return if QStash signed `body` for one of `urls`, and raise `InvalidSignature` if not.

    Args:
        token: the value of the `Upstash-Signature` header, None if there was none.
        body: the request's body, byte for byte as it arrived.
        keys: the signing keys, current first, then next; blank ones are passed over.
        urls: the URLs under which this function may have been called.
        now: Unix time in seconds; the clock's if left out.
        leeway: by how many seconds QStash's clock and ours may differ.

    Raises:
        InvalidSignature: a check failed; `reason` says which.
        ValueError: no key is usable. That is our configuration's fault, not the caller's.
    """
    if isinstance(keys, str) or isinstance(urls, str):
        # A string is a sequence of strings: each of its letters would be a key, each part a URL.
        raise TypeError("keys and urls are collections of strings, not one string")
    usable = [key.encode() for key in keys if key.strip()]
    if not usable:
        raise ValueError(
            "no usable signing key: set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY"
        )
    if not token:
        raise InvalidSignature("missing", "the request has no Upstash-Signature header")
    claims = _proven_claims(token, usable)
    _check_issuer_and_subject(claims, urls)
    _check_times(claims, time.time() if now is None else now, leeway)
    _check_body(claims, body)


def _proven_claims(token: str, keys: list[bytes]) -> dict[str, object]:
    """The claims of a token that one of `keys` signed (RFC 7515, section 5.2).

    The header has to be read first, for it names the algorithm; it may say nothing but HS256
    (RFC 8725, section 3.1). The claims are not decoded before the HMAC over them has been proven.
    """
    parts = token.encode(errors="replace").split(b".")
    if len(parts) != 3:
        raise InvalidSignature("malformed", "the token is not three parts joined by dots")
    _check_header(parts[0])
    received = _base64url(parts[2], "signature")
    signed = parts[0] + b"." + parts[1]
    if not any(hmac.compare_digest(_hmac(key, signed), received) for key in keys):
        raise InvalidSignature("signature", "no signing key of ours has signed the token")
    return _json_object(_base64url(parts[1], "payload"), "payload")


def _hmac(key: bytes, data: bytes) -> bytes:
    keyed = _keyed(key).copy()
    keyed.update(data)
    return keyed.digest()


def forget() -> None:
    """Forget the signing keys, as in a new process."""
    _keyed.cache_clear()


@functools.lru_cache(maxsize=8)  # to look for SHA-256 and set the key costs as much as the rest
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


@functools.lru_cache(maxsize=4)  # QStash's is always the same; an error is not kept
def _check_header(segment: bytes) -> None:
    header = _json_object(_base64url(segment, "header"), "header")
    if header.get("alg") != "HS256":
        raise InvalidSignature("algorithm", "the token's algorithm is not HS256")
    # `crit` lists extensions that must be understood (4.1.11), and we know none; `b64: false`
    # changes what is signed (RFC 7797); `kid` is a string or absent (4.1.4).
    if "crit" in header or header.get("b64") is False or not isinstance(header.get("kid", ""), str):
        raise InvalidSignature(
            "malformed", "the token's header has a crit, b64 or kid we do not know"
        )


def _check_issuer_and_subject(claims: dict[str, object], urls: Collection[str]) -> None:
    """RFC 7519, 4.1.1 `iss`, 4.1.2 `sub`, 4.1.3 `aud` (never us), 4.1.7 `jti`."""
    for name in ("iss", "sub", "exp", "nbf", "body"):
        if claims.get(name) is None:
            raise InvalidSignature("claims", f"the token has no claim {name}")
    if claims["iss"] != "Upstash":
        raise InvalidSignature("issuer", "the token's issuer is not Upstash")
    subject = claims["sub"]
    if not isinstance(subject, str) or subject not in urls:
        signed_for = subject.partition("?")[0] if isinstance(subject, str) else "no URL at all"
        raise InvalidSignature(
            "subject", f"the token was signed for {signed_for!r}, not for the URL that was called"
        )
    if claims.get("aud"):
        raise InvalidSignature("audience", "the token names an audience, and QStash's do not")
    if not isinstance(claims.get("jti", ""), str):
        raise InvalidSignature("claims", "the token's claim jti is not a string")


def _check_times(claims: dict[str, object], now: float, leeway: int) -> None:
    """`exp`, `nbf` and, where present, `iat` (RFC 7519, sections 4.1.4 to 4.1.6)."""
    if _seconds(claims, "exp") <= now - leeway:
        raise InvalidSignature("expired", f"the token has expired ({leeway} s leeway)")
    for name in ("nbf", "iat") if "iat" in claims else ("nbf",):
        if (begins := _seconds(claims, name)) > now + leeway:
            behind = min(begins - int(now), MAX_SECONDS_TOLD)
            raise InvalidSignature(
                "not_yet_valid",
                f"the token's {name} lies {behind} s in the future ({leeway} s leeway): this "
                "machine's clock is behind QStash's; set it by NTP",
                seconds_behind=behind,
            )


def _check_body(claims: dict[str, object], body: bytes) -> None:
    """`body`: base64url of the body's SHA-256, with padding (as in Upstash's docs) or without."""
    claimed = claims["body"]
    if not isinstance(claimed, str):
        raise InvalidSignature("claims", "the token's claim body is not a string")
    actual = binascii.b2a_base64(hashlib.sha256(body).digest(), newline=False)
    if not hmac.compare_digest(
        claimed.rstrip("=").encode(errors="replace"), actual.translate(_TO_URL_SAFE).rstrip(b"=")
    ):
        raise InvalidSignature("body", "the body is not the one that the token was signed for")


def _seconds(claims: dict[str, object], name: str) -> int:
    """A NumericDate (RFC 7519, section 2), read as leniently as PyJWT reads it."""
    try:
        return int(claims[name])  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        raise InvalidSignature("claims", f"the token's claim {name} is not a time") from None


def _base64url(segment: bytes, name: str) -> bytes:
    """Decode base64url (RFC 4648, section 5) that is exactly what an encoder writes.

    RFC 7515, section 2, leaves the padding off; a complete one is accepted. Stray bits, stray
    letters and the other alphabet are not: one value has one spelling.
    """
    letters = segment.rstrip(b"=")
    try:
        data = binascii.a2b_base64(letters.translate(_TO_STANDARD) + b"=" * (-len(letters) % 4))
    except binascii.Error:
        data = b""
    padded = binascii.b2a_base64(data, newline=False).translate(_TO_URL_SAFE)
    if segment not in (padded, padded.rstrip(b"=")):
        raise InvalidSignature("malformed", f"the token's {name} is not base64url")
    return data


def _json_object(data: bytes, name: str) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidSignature("malformed", f"the token's {name} is not a JSON object")
    return value
