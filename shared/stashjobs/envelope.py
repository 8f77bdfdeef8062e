"""The wire format: the JSON object that travels through QStash.

    {"jobId": "0192…", "type": "send-email", "payload": {…},
     "metadata": {"userId": …, "organizationId": …, "idempotencyKey": …, "createdAt": …},
     "expires": 600}

What stashjobs itself sends is thin, only `jobId` and `type`; the payload waits in the row. A
message from a producer of another make carries its payload with it, in the same format.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from stashjobs.errors import InvalidEnvelope

MAX_JOB_ID_LENGTH = 128
# Objects and lists in each other, of a payload, a result or metadata. Readers give up at 255.
MAX_LEVELS = 64
# Metadata are in every list of jobs, with up to 200 jobs.
MAX_METADATA_BYTES = 64_000
# Ten years; a larger value is a mistaken unit.
MAX_EXPIRES_SECONDS = 10 * 366 * 86_400


class Envelope(NamedTuple):
    """One message, read.

    Attributes:
        job_type: Always there.
        job_id: None where the message brings none (a QStash schedule's fixed body).
        has_payload: False for a thin message, whose payload is in the row.
        payload: Any JSON value.
        metadata: The message's metadata, as it came.
        expires: No attempt begins later than so many seconds after the first delivery.
    """

    job_type: str
    job_id: str | None
    has_payload: bool
    payload: Any
    metadata: dict[str, Any]
    expires: float | None = None

    @property
    def user_id(self) -> str | None:
        return _text(self.metadata, "userId")

    @property
    def organization_id(self) -> str | None:
        return _text(self.metadata, "organizationId")

    @property
    def idempotency_key(self) -> str | None:
        return _text(self.metadata, "idempotencyKey")


def thin(job_id: str, job_type: str) -> dict[str, str]:
    """The message for a job whose payload is in its row."""
    return {"jobId": job_id, "type": job_type}


def read(body: bytes) -> Envelope:
    """Read a message's body.

    Raises:
        InvalidEnvelope: It is not a JSON object of the form above. The message says what is wrong
            without repeating what was sent.
    """
    try:
        document = _decoder.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        # str(UnicodeDecodeError) and str(JSONDecodeError) name a position, never the content.
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not JSON text"
        raise InvalidEnvelope(f"the body is not JSON: {reason}") from None
    return from_document(document)


def from_document(document: object) -> Envelope:
    """Read a message that is parsed already, as a schedule hands it to Lambda.

    Raises:
        InvalidEnvelope: It is not an object of the form above.
    """
    if not isinstance(document, dict):
        raise InvalidEnvelope("the message is not a JSON object")
    if (misfit := unstorable(document, MAX_LEVELS + 1)) is not None:
        raise InvalidEnvelope(f"the message contains {misfit}")
    job_type = document.get("type")
    if not isinstance(job_type, str) or not job_type:
        raise InvalidEnvelope("the message has no type (a non-empty string)")
    job_id = document.get("jobId")
    if job_id is not None and not (
        isinstance(job_id, str) and 1 <= len(job_id) <= MAX_JOB_ID_LENGTH
    ):
        raise InvalidEnvelope(f"jobId is not a string of 1 to {MAX_JOB_ID_LENGTH} characters")
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InvalidEnvelope("metadata is not a JSON object")
    if (size := size_of(metadata)) > MAX_METADATA_BYTES:
        raise InvalidEnvelope(f"metadata has {size} bytes, the limit is {MAX_METADATA_BYTES}")
    return Envelope(
        job_type=job_type,
        job_id=job_id,
        has_payload="payload" in document,
        payload=document.get("payload"),
        metadata=metadata,
        expires=_expires(document.get("expires")),
    )


def _expires(value: object) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 < value <= MAX_EXPIRES_SECONDS):  # type: ignore[operator]
        raise InvalidEnvelope(f"expires is no number of seconds up to {MAX_EXPIRES_SECONDS}")
    return float(value)  # type: ignore[arg-type]


def _text(metadata: dict[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    return None if value is None or value == "" else str(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON (RFC 8259, section 6)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# What `json.loads(body, parse_constant=...)` would make for every message.
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
# As `_decoder`: made once.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def storable(document: Any) -> tuple[Any, list[str]]:
    """`document` with what `jsonb` cannot hold replaced, and what that was: a text keeps its other
    characters and gets U+FFFD for each that is replaced; a number too large for JSON is null.

    Raises:
        RecursionError: It is nested too deeply.
    """
    if unstorable(document) is None:
        return document, []
    replaced: set[str] = set()
    return _storable(document, replaced), sorted(replaced)


def _storable(value: Any, replaced: set[str]) -> Any:
    if isinstance(value, dict):
        return {_storable(key, replaced): _storable(each, replaced) for key, each in value.items()}
    if isinstance(value, list):
        return [_storable(each, replaced) for each in value]
    if (misfit := unstorable(value)) is None:
        return value
    replaced.add(misfit)
    return _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else None


def size_of(document: object) -> int:
    """Its bytes as JSON text in UTF-8."""
    return len(_encode(document).encode("utf-8", "surrogatepass"))


def levels_of(document: object) -> int:
    """How many objects and lists are in each other; 0 for a text or a number."""
    levels, level = 0, [document]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        levels += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return levels


def unstorable(document: object, max_levels: int = MAX_LEVELS) -> str | None:
    """What `jsonb` cannot hold (PostgreSQL docs, "JSON Types"), so that no row could, or what is
    too deep to be read again; or None."""
    if (levels := levels_of(document)) > max_levels:
        return f"{levels} levels of objects and lists, the limit is {max_levels}"
    rest: list[object] = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            if "\0" in value:
                return "the character U+0000"
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                return "half of a surrogate pair"
        elif isinstance(value, float) and not math.isfinite(value):
            return "a number too large for JSON"
        elif isinstance(value, dict):
            rest.extend(value.keys())
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return None
