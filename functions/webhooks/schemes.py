"""How sources sign their webhooks, and how a signature is verified.

Written out and not taken from the sources' SDKs, because a source waits for its answer and a cold
start pays for every import (Stripe's SDK takes longer to import than all that is done here).
tests/property proves that they agree with `stripe.Webhook` and `resend.Webhooks`.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# What Stripe's and Resend's own libraries take (`DEFAULT_TOLERANCE`, five minutes).
TOLERANCE_SECONDS = 300.0
_PLACEHOLDERS = re.compile(r"(\{(?:body|timestamp|id)\})")


class NotSigned(Exception):
    """A webhook that its source did not sign, or signed too long ago.

    `reason` is stable, one word for the check that failed: missing, malformed, signature or time.
    The message is a sentence for the source's operator; it holds no secret and no signature.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Scheme(Protocol):
    """One way of signing."""

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        keys: Sequence[bytes],
        now: float | None = None,
    ) -> None:
        """Return if the holder of one of `keys` signed `body`.

        Args:
            headers: By lower-case name.
            body: Byte for byte as it arrived.
            keys: Of which any will do, so that secrets can be rotated.
            now: Unix time in seconds; the clock's if left out.

        Raises:
            NotSigned: A check failed.
        """


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """An HMAC in a header, over the body or over a text that has the body in it.

    GitHub's (GitHub docs, "Validating webhook deliveries"), Svix's, which is Resend's (Svix docs,
    "Verifying Webhooks Manually"), and with other words in other places nearly everybody's. The
    header may hold several signatures with spaces between them, as Svix's does in a rotation.

    Attributes:
        header: Where the signature is; lower case.
        algorithm: The HMAC's hash.
        prefix: What stands before each signature. What does not begin with it is passed over.
        encoding: How the signature is written.
        signed: The text that is signed, with `{body}` and, where the source signs them too,
            `{timestamp}` and `{id}`.
        timestamp_header: Where the time of sending is, in Unix seconds; None: there is none.
        id_header: Where `{id}` is.
        tolerance: By how much that time may differ from ours, in seconds.
    """

    header: str
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    prefix: str = ""
    encoding: Literal["hex", "base64"] = "hex"
    signed: str = "{body}"
    timestamp_header: str | None = None
    id_header: str | None = None
    tolerance: float = TOLERANCE_SECONDS

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        keys: Sequence[bytes],
        now: float | None = None,
    ) -> None:
        """See `Scheme.verify`."""
        values = {"{body}": body}
        for placeholder, name in (("{timestamp}", self.timestamp_header), ("{id}", self.id_header)):
            if name is not None:
                values[placeholder] = _encoded(_required(headers, name))
        candidates = [
            each.removeprefix(self.prefix)
            for each in _required(headers, self.header).split()
            if each.startswith(self.prefix)
        ]
        if self.encoding == "hex":
            candidates = [each.lower() for each in candidates]
        parts = _PLACEHOLDERS.split(self.signed)
        signed = b"".join(values.get(part, part.encode()) for part in parts)
        _require_match(candidates, [self._signature(key, signed) for key in keys], self.header)
        if self.timestamp_header is not None:
            sent = _whole_seconds(headers[self.timestamp_header], self.timestamp_header)
            _require_recent(sent, time.time() if now is None else now, self.tolerance, both=True)

    def _signature(self, key: bytes, signed: bytes) -> str:
        digest = hmac.digest(key, signed, self.algorithm)
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class StripeScheme:
    """`Stripe-Signature: t=1492774577,v1=5257a8…,v1=…,v0=…` (Stripe docs, "Receive Stripe events in
    your webhook endpoint", "Verify webhook signatures manually").

    Each `v1` is the HMAC-SHA256, in hex, of `t`, a dot and the body, with an endpoint's secret as
    it is, `whsec_` included. A time in the future is accepted, as Stripe's SDK accepts it.
    """

    header: str = "stripe-signature"
    tolerance: float = TOLERANCE_SECONDS

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        keys: Sequence[bytes],
        now: float | None = None,
    ) -> None:
        """See `Scheme.verify`."""
        items = [item.split("=", 2) for item in _required(headers, self.header).split(",")]
        if not all(len(item) > 1 for item in items if item[0] in {"t", "v1"}):
            raise NotSigned("malformed", f"{self.header} is not a list of t=… and v1=…")
        times = [item[1] for item in items if item[0] == "t"]
        if not times:
            raise NotSigned("malformed", f"{self.header} has no time (t=…)")
        sent = _whole_seconds(times[0], self.header)
        signed = b"%d." % sent + body
        candidates = [item[1] for item in items if item[0] == "v1"]
        _require_match(
            candidates, [hmac.digest(key, signed, "sha256").hex() for key in keys], self.header
        )
        _require_recent(sent, time.time() if now is None else now, self.tolerance, both=False)


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise NotSigned("missing", f"the request has no header {name}")
    return value


def _require_match(candidates: Sequence[str], expected: Iterable[str], header: str) -> None:
    """Every candidate is compared with every expectation, so that the time it takes says nothing
    about which of them came near."""
    if not candidates:
        raise NotSigned("malformed", f"{header} has no signature of the kind that is asked for")
    matches = [
        hmac.compare_digest(_encoded(candidate), each.encode())
        for each in expected
        for candidate in candidates
    ]
    if not any(matches):
        raise NotSigned("signature", f"{header} does not fit the body and the secret")


def _require_recent(sent: int, now: float, tolerance: float, *, both: bool) -> None:
    """`both`: also not from the future."""
    if sent < now - tolerance or (both and sent > now + tolerance):
        raise NotSigned("time", f"it was signed more than {tolerance:g} s before or after now")


def _whole_seconds(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotSigned("malformed", f"the time in {name} is not a whole number") from None


def _encoded(header: str) -> bytes:
    return header.encode("utf-8", "surrogatepass")
