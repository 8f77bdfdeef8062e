"""`WEBHOOK_SOURCES`: sources of your own, as a setting (docs/webhooks.md lists the members).

    {"acme": {"secret": "ACME_WEBHOOK_SECRET", "header": "X-Acme-Signature",
              "event": {"path": "type"}, "id": {"path": "id"}}}

Read strictly: a misspelt member would otherwise be a check that is not made.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from functions.webhooks.schemes import TOLERANCE_SECONDS, HmacScheme
from functions.webhooks.sources import BUILT_IN, Place, Source
from stashjobs.config import settings
from stashjobs.errors import SettingError

REQUIRED = {"secret", "header", "event"}
OPTIONAL = {
    "algorithm": "sha256",
    "prefix": "",
    "encoding": "hex",
    "secretEncoding": "text",
    "timestampHeader": None,
    "signed": None,
    "tolerance": TOLERANCE_SECONDS,
    "id": None,
}
CHOICES = {
    "algorithm": ["sha256", "sha512", "sha1"],
    "encoding": ["hex", "base64"],
    "secretEncoding": ["text", "base64"],
}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2, "token"


def find(name: str) -> Source | None:
    """The source of that name, None where `WEBHOOK_SOURCES` has none.

    Raises:
        SettingError: `WEBHOOK_SOURCES` is malformed; the message names the source and the member.
    """
    return read(settings.optional("WEBHOOK_SOURCES", "{}")).get(name)


@functools.lru_cache(maxsize=1)
def read(text: str) -> dict[str, Source]:
    """All sources of the setting's value.

    Raises:
        SettingError: See `find`.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SettingError(f"WEBHOOK_SOURCES is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SettingError("WEBHOOK_SOURCES must be a JSON object: source names and their members.")
    return {name: _source(name, members) for name, members in document.items()}


def _source(name: str, given: Any) -> Source:
    if not _NAME.fullmatch(name):
        raise _wrong(name, "a name is lower case letters, digits and hyphens")
    if name in BUILT_IN:
        raise _wrong(name, "this source is built in; choose another name")
    if not isinstance(given, dict):
        raise _wrong(name, "its members must be a JSON object")
    if missing := REQUIRED - given.keys():
        raise _wrong(name, f"{', '.join(sorted(missing))} must be there")
    if unknown := given.keys() - REQUIRED - OPTIONAL.keys():
        raise _wrong(name, f"{', '.join(sorted(unknown))}: there is no such member")
    members = {**OPTIONAL, **given}
    for member, choices in CHOICES.items():
        if members[member] not in choices:
            raise _wrong(
                name, f"{member} is {members[member]!r}; it must be {' or '.join(choices)}"
            )
    secret = members["secret"]
    if not (isinstance(secret, str) and _SETTING.fullmatch(secret)):
        # Not shown: it may be the secret itself.
        raise _wrong(
            name, "secret must be the name of the setting that holds it (ACME_WEBHOOK_SECRET)"
        )
    event_id = None if members["id"] is None else _place(name, "id", members["id"])
    return Source(
        name=name,
        secret_setting=secret,
        secret_is_base64=members["secretEncoding"] == "base64",
        scheme=_scheme(name, members, event_id),
        event=_place(name, "event", members["event"]),
        id=event_id,
    )


def _scheme(name: str, members: dict[str, Any], event_id: Place | None) -> HmacScheme:
    timestamp = members["timestampHeader"]
    id_header = event_id.name if event_id is not None and event_id.kind == "header" else None
    signed = members["signed"]
    if signed is None:
        signed = "{body}" if timestamp is None else "{timestamp}.{body}"
    _check_signed(name, signed, has_timestamp=timestamp is not None, has_id=id_header is not None)
    tolerance = members["tolerance"]
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or tolerance <= 0:
        raise _wrong(name, f"tolerance is {tolerance!r}; it must be more than 0 seconds")
    prefix = members["prefix"]
    if not isinstance(prefix, str) or " " in prefix:
        raise _wrong(name, f"prefix is {prefix!r}; it must be text without a space")
    return HmacScheme(
        header=_header(name, "header", members["header"]),
        algorithm=members["algorithm"],
        prefix=prefix,
        encoding=members["encoding"],
        signed=signed,
        timestamp_header=None if timestamp is None else _header(name, "timestampHeader", timestamp),
        id_header=id_header if "{id}" in signed else None,
        tolerance=float(tolerance),
    )


def _check_signed(name: str, signed: Any, *, has_timestamp: bool, has_id: bool) -> None:
    """A placeholder that nothing fills, or a time that no signature covers, protects nothing."""
    if not isinstance(signed, str) or signed.count("{body}") != 1:
        raise _wrong(name, f"signed is {signed!r}; it must be text with {{body}} in it, once")
    if ("{timestamp}" in signed) != has_timestamp:
        raise _wrong(
            name,
            "timestampHeader and {timestamp} in signed go together: a time that is not signed can "
            "be changed by anyone",
        )
    if "{id}" in signed and not has_id:
        raise _wrong(name, "{id} in signed needs an id that is in a header")


def _place(name: str, member: str, given: Any) -> Place:
    if isinstance(given, dict) and len(given) == 1:
        [(kind, value)] = given.items()
        if kind == "header":
            return Place("header", _header(name, member, value))
        if kind == "path" and isinstance(value, str) and all(value.split(".")):
            return Place("path", value)
    raise _wrong(
        name, f'{member} must be {{"header": "X-Name"}} or {{"path": "member.of.the.body"}}'
    )


def _header(name: str, member: str, given: Any) -> str:
    if not (isinstance(given, str) and _HEADER.fullmatch(given)):
        raise _wrong(name, f"{member} is {given!r}; it must be the name of a header")
    return given.lower()


def _wrong(name: str, reason: str) -> SettingError:
    return SettingError(f"WEBHOOK_SOURCES: {name[:64]}: {reason}.")
