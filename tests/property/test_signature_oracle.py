"""`stashjobs.delivery.signature` against an independent implementation: `qstash.Receiver`, which
is PyJWT.

1. Thousands of generated tokens, sound and spoiled: both accept, or both refuse.
2. The seconds around exp, nbf and iat, on a stopped clock, against PyJWT itself.
3. Every intended difference, in one table, each with its reason and its own test.
"""

import base64
import hashlib
import hmac
import json
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import jwt
import pytest
from jwt.warnings import InsecureKeyLengthWarning
from qstash import Receiver
from qstash.errors import SignatureError

from stashjobs.delivery.signature import verify
from stashjobs.errors import InvalidSignature
from tests.examples import examples

# A key below 32 bytes makes PyJWT warn; as an error the warning would refuse the token (see below).
pytestmark = pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")

CURRENT = "sig_current_0123456789abcdefghij"
NEXT = "sig_next_0123456789abcdefghijklm"
STRANGER = "sig_stranger_0123456789abcdefghi"
URL = "https://abc.lambda-url.eu-west-1.on.aws/jobs?x=1"
OTHER_URL = "https://jobs.example.com/"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

TOKENS, SEED = examples(3_000), 1


# ------------------------------------------------------------------ the two judges


class RawBody(str):
    """A body that Receiver, which calls `body.encode()`, hashes as the bytes that were received."""

    raw: bytes = b""
    __slots__ = ("__dict__",)

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


def raw_body(body: bytes) -> RawBody:
    text = RawBody()
    text.raw = body
    return text


def ours(token: str, body: bytes, keys: Sequence[str], urls: Iterable[str], **clock: Any) -> str:
    try:
        verify(token, body, keys=keys, urls=list(urls), **clock)
    except InvalidSignature as refusal:
        return refusal.reason
    return "accepted"


def theirs(token: str, body: bytes, keys: Sequence[str], urls: Iterable[str]) -> str:
    receiver = Receiver(*keys)
    for url in urls:
        try:
            receiver.verify(signature=token, body=raw_body(body), url=url)
        except SignatureError:
            continue
        except (KeyError, AttributeError):  # Receiver on a `body` claim that is no string
            return "crashed"
        return "accepted"
    return "refused"


# ------------------------------------------------------------------ making tokens


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def mac(key: str, signed: str, digest: str = "sha256") -> bytes:
    return hmac.digest(key.encode("utf-8", "surrogatepass"), signed.encode(), digest)


def token_of(header: bytes, payload: bytes, key: str, digest: str = "sha256") -> str:
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(mac(key, signed, digest))}"


def claims_at(now: int, body: bytes, **changed: object) -> dict[str, object]:
    return {
        "iss": "Upstash",
        "sub": URL,
        "exp": now + 300,
        "nbf": now - 60,
        "iat": now - 60,
        "jti": "jwt_1",
        "body": b64(hashlib.sha256(body).digest()),
    } | changed


T = TypeVar("T")

# Not hypothesis: drawing a token would take longer than judging it, and what is judged differently
# is small enough to be read as it is.
Chooser = random.Random


def pick(choose: Chooser, options: Sequence[T]) -> T:
    return options[int(choose.random() * len(options))]


def up_to(choose: Chooser, most: int) -> int:
    return int(choose.random() * (most + 1))


def a_body(choose: Chooser) -> bytes:
    return pick(choose, [b"{}", b"", choose.randbytes(up_to(choose, 12))])


def garbage(choose: Chooser) -> str:
    most = pick(choose, [0, 127, 0x10FFFF])
    letters = (
        chr(up_to(choose, most)) if most else pick(choose, "ab0-_=.")
        for _ in range(up_to(choose, 30))
    )
    return "".join(letters)


def far_from_now(choose: Chooser) -> int | float:
    """Seconds."""
    kinds = [choose.randint(60, 10**6), choose.uniform(60, 1e12), 10**12, 10**30, 10**400]
    return pick(choose, kinds)


ABSENT = object()


def each(name: str, values: list[object]) -> list[dict[str, object]]:
    return [{name: value} for value in values]


# Variations that leave a token sound by our reading; whether they do is for the judges to say.
HARMLESS_HEADER: list[dict[str, object]] = [
    {"typ": ABSENT},
    {"typ": "at+jwt"},
    {"typ": None},
    {"kid": "k1"},
    {"b64": True},
    {"b64": None},
    {"b64": 0},
    {"cty": "é\ud800", "x5u": [1, {"a": None}]},
]
HARMFUL_HEADER: list[dict[str, object]] = [
    *each("alg", ["none", "None", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256"]),
    *each("alg", ["HS256 ", "", None, 1, ["HS256"], ABSENT]),
    *each("kid", [None, 1, ["k"]]),
    *each("crit", [[], None, "b64", ["exp"], [1], {"b64": True}]),
    {"crit": ["b64"], "b64": ABSENT},
    {"crit": ["b64"], "b64": False},
    {"b64": False},
]
HARMLESS_CLAIM: list[dict[str, object]] = [
    {"iat": ABSENT},
    {"jti": ABSENT},
    {"jti": ""},
    {"aud": None},
    {"aud": ""},
    {"aud": []},
    {"iat": "1600000000"},
    {"iat": True},
    {"nbf": 0},
    {"nbf": -1.5},
    {"nbf": True},
    {"nbf": " 1_600_000_000 "},
    {"exp": 10**400},
    {"exp": 1e300},
    {"exp": "99999999999"},
    {"exp": "٩٩٩٩٩٩٩٩٩٩٩"},
    {"extra": {"nested": [1, 2.5, None, "é\u2028"]}},
    {"sub": OTHER_URL},
]
NOT_A_TIME: list[object] = ["soon", "", "1e9", [], {}, [1], float("inf"), float("nan"), None]
HARMFUL_CLAIM: list[dict[str, object]] = [
    *each("iss", ["upstash", "Upstash ", "", "\ud800", None, ["Upstash"], 1, ABSENT]),
    *each("sub", ["", URL + "/", URL[:-1], URL.upper(), "\ud800", None, ABSENT]),
    *each("sub", [[URL], {URL: 1}, 5, True]),
    *each("exp", [*NOT_A_TIME, ABSENT]),
    *each("nbf", [*NOT_A_TIME, ABSENT]),
    *each("iat", NOT_A_TIME),
    *each("exp", [0, -1, True, False, 1e-9, "1", -(10**400)]),
    *each("nbf", [10**400, 1e300, "99999999999"]),
    *each("iat", [10**400, 1e300, "99999999999"]),
    *each("aud", ["x", ["x"], {"a": 1}, True, 1]),
    *each("jti", [None, 1, [], {}]),
    *each("body", ["", "=", "é", "\ud800", "0" * 43, None, ABSENT, 1, ["x"], {}]),
]
NOT_CLAIMS = [b"", b"[]", b"null", b'"claims"', b"1", b"{", b"{}", b"\xff\xfe", b"{'iss': 1}"]
NOT_CLAIMS += [b"[" * 3_000, b'{"exp": ' + b"9" * 5_000 + b"}", b'{"iss":"Upstash"} x']


def changed(base: dict[str, object], change: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in (base | change).items() if value is not ABSENT}


def json_bytes(choose: Chooser, value: dict[str, object]) -> bytes:
    """One of the ways to write an object down, all of which `json.loads` reads."""
    match pick(choose, ["plain", "plain", "plain", "spaced", "raw", "twice", "utf16", "bom"]):
        case "spaced":
            return (" \r\n" + json.dumps(value, indent=2) + "\t ").encode()
        case "raw":
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        case "twice":  # a duplicate member: the last one counts
            first = json.dumps({"alg": "none", "iss": "x", "exp": 0})
            return f"{first[:-1]}, {json.dumps(value)[1:]}".encode()
        case "utf16":
            return json.dumps(value).encode("utf-16")
        case "bom":
            return b"\xef\xbb\xbf" + json.dumps(value).encode()
    return json.dumps(value, separators=(",", ":")).encode()


def respelled(choose: Chooser, part: str) -> str:
    """A part of the token, spelled in another way that a lenient decoder would read alike."""
    match pick(choose, ["padded", "short pad", "long pad", "bits", "alphabet", "space"]):
        case "padded":
            return part + "=" * (-len(part) % 4)
        case "short pad":
            return part + "="
        case "long pad":
            return part + "=" * choose.randint(3, 6)
        case "bits" if part and len(part) % 4:
            return part[:-1] + ALPHABET[(ALPHABET.find(part[-1]) + 1) % 64]
        case "alphabet":
            return part.replace("-", "+").replace("_", "/")
    at = up_to(choose, len(part))
    return part[:at] + pick(choose, ["\n", " ", "!", "=", "é", "."]) + part[at:]


def damaged(choose: Chooser, token: str) -> str:
    """A token changed after it was signed."""
    at = up_to(choose, len(token) - 1)
    match pick(choose, ["change", "drop", "insert", "cut", "swap", "more", "less", "case"]):
        case "change":
            return (
                token[:at] + pick(choose, ALPHABET + ".=+/ \x00" + "é\ud800" * 16) + token[at + 1 :]
            )
        case "drop":
            return token[:at] + token[at + 1 :]
        case "insert":
            return token[:at] + pick(choose, ALPHABET + ".=") + token[at:]
        case "cut":
            return token[:at]
        case "swap":
            return ".".join(choose.sample(parts := token.split("."), len(parts)))
        case "more":
            return token + pick(choose, [".", "..", ".AAAA", " ", "\n", "="])
        case "less":
            return ".".join(token.split(".")[: up_to(choose, 2)]) + pick(choose, ["", "."])
    return token.swapcase()


HARMS = ["header", "claim", "payload", "expired", "early", "key", "digest", "body", "url"]
HARMS += ["damaged", "respelled", "respelled after", "unsigned", "empty keys", "garbage"]


class Sample(NamedTuple):
    label: str
    token: str
    body: bytes
    keys: tuple[str, str]
    urls: list[str]


def sample(choose: Chooser) -> Sample:  # noqa: C901 - one branch for each way to spoil a token
    harm = pick(choose, ["none"] * len(HARMS) + HARMS)
    if harm == "garbage":
        return Sample(harm, garbage(choose), b"", (CURRENT, NEXT), [URL])

    now = int(time.time())
    body = sent = a_body(choose)
    header: dict[str, object] = {"alg": "HS256", "typ": "JWT"}
    claims = claims_at(now, body)
    urls = [URL, OTHER_URL] if up_to(choose, 3) == 0 else [URL]
    keys = pick(choose, [(CURRENT, NEXT)] * 6 + [(CURRENT, ""), ("", NEXT), ("k", "é")])
    key = pick(choose, [name for name in keys if name])
    digest = "sha256"

    if up_to(choose, 2) == 0:
        header = changed(header, pick(choose, HARMLESS_HEADER))
    if up_to(choose, 2) == 0:
        claims = changed(claims, pick(choose, HARMLESS_CLAIM))
    if up_to(choose, 3) == 0:
        claims["body"] = str(claims["body"]) + "=" * choose.randint(1, 3)

    match harm:
        case "header":
            header = changed(header, pick(choose, HARMFUL_HEADER))
        case "claim":
            claims = changed(claims, pick(choose, HARMFUL_CLAIM))
        case "expired":
            claims["exp"] = now - far_from_now(choose)
        case "early":
            claims[pick(choose, ["nbf", "iat"])] = now + far_from_now(choose)
        case "key":
            key = pick(choose, [STRANGER, "", key + "\n", key[:-1], "sig_"])
        case "digest":
            digest = pick(choose, ["sha384", "sha512", "sha1", "md5"])
            header["alg"] = {"sha384": "HS384", "sha512": "HS512"}.get(digest, "HS256")
        case "body":
            sent = pick(choose, [body + b"\n", body[1:], b"\xff" + body, b"x"])
        case "url":
            urls = pick(choose, [["https://evil.example/"], [URL + "#"], [""], [URL[:-1]]])
        case "empty keys":  # one blank key next to a sound one: see the table for two
            keys, key = pick(choose, [((CURRENT, ""), ""), (("", NEXT), "")])

    payload = json_bytes(choose, claims)
    if harm == "payload":
        payload = pick(choose, NOT_CLAIMS)
    token = token_of(json_bytes(choose, header), payload, key, digest)

    match harm:
        case "damaged":
            token = damaged(choose, token)
        case "unsigned":
            token = token.rpartition(".")[0] + "." + pick(choose, ["", "AA", "A" * 43])
        case "respelled after":
            parts = token.split(".")
            which = up_to(choose, 2)
            parts[which] = respelled(choose, parts[which])
            token = ".".join(parts)
        case "respelled":  # and signed as it is spelled
            parts = token.split(".")[:2]
            which = up_to(choose, 1)
            parts[which] = respelled(choose, parts[which])
            signed = ".".join(parts)
            token = f"{signed}.{b64(mac(key, signed))}"
    return Sample(harm, token, sent, keys, urls)


# ------------------------------------------------------------------ 1. the comparison

REASONS = {"accepted", "missing", "malformed", "algorithm", "signature", "claims", "issuer"}
REASONS |= {"subject", "audience", "expired", "not_yet_valid", "body"}


def test_on_generated_tokens_receiver_and_we_agree() -> None:
    choose = random.Random(SEED)
    seen: Counter[str] = Counter()
    by_label: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for _ in range(TOKENS):
        label, token, body, keys, urls = one = sample(choose)
        reason = ours(token, body, keys, urls)
        verdict = theirs(token, body, keys, urls)
        if verdict == "crashed":
            assert label == "claim", one
            assert reason == "claims", one
        assert (reason == "accepted") == (verdict == "accepted"), (reason, verdict, one)
        seen["accepted" if reason == "accepted" else "refused"] += 1
        by_label[label] += 1
        by_reason[reason] += 1

    total = seen.total()
    print(f"{total:,} tokens: {dict(seen)}\n{dict(by_reason)}\n{dict(by_label)}")
    assert min(seen["accepted"], seen["refused"]) > 0.15 * total
    assert set(by_label) == {"none", *HARMS}
    assert min(by_label.values()) > total / 60
    assert set(by_reason) == REASONS
    assert min(by_reason.values()) > total / 5_000


# ------------------------------------------------------------------ 2. the boundaries of time

NOW = 1_700_000_000


class StoppedClock(datetime):
    at = float(NOW)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
        return cls.fromtimestamp(cls.at, tz)


@pytest.mark.parametrize("leeway", [0, 1, 5])
@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_around_every_boundary_pyjwt_and_we_agree_to_the_fraction_of_a_second(
    monkeypatch: pytest.MonkeyPatch, claim: str, fraction: float, leeway: int
) -> None:
    monkeypatch.setattr("jwt.api_jwt.datetime", StoppedClock)
    monkeypatch.setattr(StoppedClock, "at", NOW + fraction)
    verdicts = set()
    for offset in range(-7, 8):
        for part in (0, 0.5, 0.999):
            claims = claims_at(NOW - 30, b"", **{claim: NOW + offset + part})
            token = token_of(b'{"alg":"HS256"}', json.dumps(claims).encode(), CURRENT)
            try:
                jwt.decode(token, CURRENT, algorithms=["HS256"], issuer="Upstash", leeway=leeway)
                pyjwt = "accepted"
            except jwt.ExpiredSignatureError:
                pyjwt = "expired"
            except jwt.ImmatureSignatureError:
                pyjwt = "not_yet_valid"
            clock = {"now": NOW + fraction, "leeway": leeway}
            assert ours(token, b"", (CURRENT, NEXT), [URL], **clock) == pyjwt, (offset, part)
            if leeway == 0:
                receiver = theirs(token, b"", (CURRENT, NEXT), [URL])
                assert (receiver == "accepted") == (pyjwt == "accepted")
            verdicts.add(pyjwt)
    assert verdicts == {"accepted", "expired" if claim == "exp" else "not_yet_valid"}


# ------------------------------------------------------------------ 3. the intended differences


class Difference(NamedTuple):
    name: str
    why: str
    ours: str
    """`accepted`, the reason of the refusal, or the ValueError."""
    theirs: str
    """`accepted`, or the name and the beginning of what Receiver raises."""
    claims: Mapping[str, object] = MappingProxyType({})
    header: Mapping[str, object] = MappingProxyType({})
    key: str = CURRENT
    keys: tuple[str, str] = (CURRENT, NEXT)
    body: bytes = b""
    url: str | None = URL
    short_keys: Literal["ignore", "error"] = "ignore"
    """What becomes of PyJWT's InsecureKeyLengthWarning."""


PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ==\n-----END PUBLIC KEY-----"
NO_KEY = "ValueError: no usable signing key: set QSTASH_CURRENT_SIGNING_KEY"
DIFFERENCES = [
    Difference(
        "a body that is not UTF-8",
        "Receiver takes text and encodes it; we hash the bytes that were received",
        ours="accepted",
        theirs="UnicodeEncodeError",
        body=b"\xff\x00",
    ),
    Difference(
        "a clock five seconds off",
        "Receiver puts clock_tolerance where PyJWT does not look for its leeway: it has no effect",
        ours="accepted",
        theirs="SignatureError: Signature has expired",
        claims={"exp": NOW - 3},
        keys=(CURRENT, CURRENT),
    ),
    Difference(
        "no `body` claim",
        "Receiver does not require it and stumbles; a refusal has to be an InvalidSignature",
        ours="claims",
        theirs="KeyError: 'body'",
        claims={"body": ABSENT},
    ),
    Difference(
        "a `body` claim that is no string",
        "Receiver stumbles; a refusal has to be an InvalidSignature",
        ours="claims",
        theirs="AttributeError: 'int' object",
        claims={"body": 1},
    ),
    Difference(
        "the reason, when the current key signed and a claim is wrong",
        "Receiver goes on to the next key and reports its failure; we say what was wrong",
        ours="issuer",
        theirs="SignatureError: Error while decoding signature: Signature verification failed",
        claims={"iss": "someone"},
    ),
    Difference(
        "a key of blanks",
        "a setting that someone left blank is not a secret; PyJWT signs with any non-empty string",
        ours=NO_KEY,
        theirs="accepted",
        key=" ",
        keys=(" ", ""),
    ),
    Difference(
        "no key at all",
        "a fault of our configuration must not look like a forged request: 500, not 401",
        ours=NO_KEY,
        theirs="SignatureError: Error while decoding signature: HMAC key must not be empty",
        keys=("", ""),
    ),
    Difference(
        "a short key",
        "PyJWT warns below 32 bytes, a refusal where warnings are errors; Upstash picks our keys",
        ours="accepted",
        theirs="SignatureError: Error while decoding signature: The HMAC key is 3 bytes long",
        key="key",
        keys=("key", "key"),
        short_keys="error",
    ),
    Difference(
        "a key that looks like PEM, SSH or JWK",
        "PyJWT guards a choice of algorithms against confusion; here there is no choice but HS256",
        ours="accepted",
        theirs="SignatureError",
        key=PEM,
        keys=(PEM, ""),
    ),
    Difference(
        "crit: ['b64'] with b64: true",
        "PyJWT knows this extension, which changes nothing when true; we know none",
        ours="malformed",
        theirs="accepted",
        header={"crit": ["b64"], "b64": True},
    ),
    Difference(
        "no URL to compare with",
        "Receiver skips the check of `sub`; for us it is never left out",
        ours="subject",
        theirs="accepted",
        url=None,
    ),
]


@pytest.mark.parametrize("it", DIFFERENCES, ids=lambda it: it.name.replace(" ", "-"))
def test_an_intended_difference_is_as_the_table_says(
    monkeypatch: pytest.MonkeyPatch, it: Difference
) -> None:
    monkeypatch.setattr("jwt.api_jwt.datetime", StoppedClock)
    header = {"alg": "HS256", **it.header}
    claims = changed(claims_at(NOW, it.body), dict(it.claims))
    token = token_of(json.dumps(header).encode(), json.dumps(claims).encode(), it.key)
    urls = [it.url] if it.url else []

    def receiver() -> str:
        text = it.body.decode(errors="surrogateescape")
        Receiver(*it.keys).verify(signature=token, body=text, url=it.url, clock_tolerance=5)
        return "accepted"

    def outcome(judge: Callable[[], str]) -> str:
        try:
            return judge()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is compared
            return f"{type(error).__name__}: {error}"

    with warnings.catch_warnings():
        warnings.simplefilter(it.short_keys, InsecureKeyLengthWarning)
        we = outcome(lambda: ours(token, it.body, it.keys, urls, now=NOW))
        they = outcome(receiver)
    assert we.startswith(it.ours)
    assert they.startswith(it.theirs)
    assert we != they
