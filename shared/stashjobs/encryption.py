"""Encrypted payloads: AES-256-GCM, so no plaintext reaches QStash, Postgres or a log.

    {"$sealed": {"v": 1, "kid": "2026-11", "nonce": "…", "data": "…"}}

takes the place of a payload or a result. docs/encrypted-payloads.md specifies the format. The
cipher is AEAD_AES_256_GCM (RFC 5116, section 5.2; NIST SP 800-38D).
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stashjobs.config import settings
from stashjobs.errors import EncryptionError, InvalidPayload, SettingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = "$sealed"
VERSION = 1
SETTING = "PAYLOAD_KEYS"
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
# Shorter than a key, so that a key entered in place of an id is refused and never shown.
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{43}=?")
_FIELDS = {"v", "kid", "nonce", "data"}


class Place(NamedTuple):
    """What an encrypted document is bound to: of one job the `payload`, the `result`, or the kept
    result of a step, by its position (`step 3`)."""

    job_id: str
    job_type: str
    purpose: str

    def associated_data(self, key_id: str) -> bytes:
        """What GCM authenticates beside the plaintext. No part can contain U+0000 (Postgres
        cannot store it and `envelope.read` refuses it), so no two places share the same bytes."""
        parts = ("stashjobs sealed v1", self.purpose, key_id, self.job_type, self.job_id)
        if any("\0" in part for part in parts):
            raise EncryptionError("a job's id or type contains U+0000, which cannot be encrypted")
        return "\0".join(parts).encode()


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of `PAYLOAD_KEYS`."""

    id: str
    secret: bytes = field(repr=False)

    def cipher(self) -> AESGCM:
        """The cipher.

        Raises:
            SettingError: `cryptography` is not installed.
        """
        try:
            # Not at the top: a worker whose jobs are not encrypted never pays for this import.
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise SettingError(
                "encrypted payloads need the package cryptography; install stashjobs[encryption]."
            ) from None
        return AESGCM(self.secret)


class Keys(NamedTuple):
    """All of `PAYLOAD_KEYS`. The first one encrypts; any of them decrypts."""

    current: Key
    by_id: dict[str, Key]

    def find(self, key_id: str, what: str) -> Key:
        """The key with this id.

        Raises:
            EncryptionError: No key has it.
        """
        if key_id not in self.by_id:
            raise EncryptionError(
                f"{what} is encrypted with the key {key_id}, which is not in {SETTING} "
                f"(there: {', '.join(self.by_id)}). Put that key back, then retry the job."
            )
        return self.by_id[key_id]


def keys() -> Keys:
    """The keys of the setting `PAYLOAD_KEYS`.

    Raises:
        SettingError: It is missing or malformed. The message never shows a key.
    """
    return parse_keys(settings.require(SETTING))


@functools.lru_cache(maxsize=2)
def parse_keys(text: str) -> Keys:
    """Read `id:key,id:key`: the key is 32 bytes in base64, the first one is the current one.

    Raises:
        SettingError: It is something else.
    """
    by_id: dict[str, Key] = {}
    for number, entry in enumerate(text.split(","), start=1):
        key = _parse_key(number, entry.strip())
        if key.id in by_id:
            raise SettingError(f"{SETTING}: the key id {key.id} appears twice.")
        if any(key.secret == other.secret for other in by_id.values()):
            raise SettingError(f"{SETTING}: {key.id} and another id have the same key.")
        by_id[key.id] = key
    return Keys(next(iter(by_id.values())), by_id)


def _parse_key(number: int, entry: str) -> Key:
    key_id, colon, encoded = entry.partition(":")
    if not colon or not _KEY_ID.fullmatch(key_id):
        raise SettingError(
            f"{SETTING}: entry {number} does not begin with a key id and a colon. An id has 1 to "
            "32 letters, digits, dots, hyphens or underscores; `stashjobs keys new` makes an entry."
        )
    standard = encoded.strip().replace("-", "+").replace("_", "/")
    if not _KEY_TEXT.fullmatch(standard):
        raise SettingError(
            f"{SETTING}: the key of {key_id} is not {KEY_BYTES} bytes in base64; "
            "`stashjobs keys new` makes one."
        )
    return Key(key_id, base64.b64decode(standard[:43] + "="))


def forget() -> None:
    """Forget the keys, as in a new process."""
    parse_keys.cache_clear()


def is_key_id(text: str) -> bool:
    """Whether this can be the id of a key."""
    return _KEY_ID.fullmatch(text) is not None


def new_entry(key_id: str) -> str:
    """A new entry for `PAYLOAD_KEYS`, with a random key."""
    return f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def is_encrypted(document: object) -> bool:
    """Whether this stands for an encrypted document: an object with the member `$sealed`. No plain
    payload or result has that member; `refuse_mark` sees to it."""
    return isinstance(document, dict) and MARK in document


def refuse_mark(job_type: str, payload: object) -> None:
    """Make sure that a plain payload is not mistaken for an encrypted one.

    Raises:
        InvalidPayload: It has the reserved member `$sealed`.
    """
    if is_encrypted(payload):
        raise InvalidPayload(job_type, [f"{MARK}: this name is reserved for encrypted payloads"])


def encrypt(document: Any, place: Place) -> dict[str, Any]:
    """Encrypt plain JSON with the current key.

    Raises:
        SettingError: `PAYLOAD_KEYS` is missing or malformed, or `cryptography` is not installed.
        TypeError | ValueError: The document is not JSON.
    """
    plaintext = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _encrypt(plaintext.encode(), keys().current, place)


def decrypt(document: Any, place: Place) -> Any:
    """The plain JSON of an encrypted document.

    Raises:
        EncryptionError: It is malformed, its key is missing, or it was encrypted for another place.
            The message never shows the plaintext or a key.
        SettingError: `PAYLOAD_KEYS` is missing or malformed, or `cryptography` is not installed.
    """
    plaintext, _ = _decrypt(document, place)
    try:
        return json.loads(plaintext, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise EncryptionError(
            f"the {place.purpose} was decrypted, but the plaintext is not JSON"
        ) from None


def reencrypt(document: Any, place: Place) -> dict[str, Any]:
    """The same plaintext, encrypted with the current key.

    Raises:
        EncryptionError | SettingError: See `decrypt`.
    """
    plaintext, all_keys = _decrypt(document, place)
    return _encrypt(plaintext, all_keys.current, place)


def _encrypt(plaintext: bytes, key: Key, place: Place) -> dict[str, Any]:
    # A random nonce (NIST SP 800-38D, section 8.2.2) needs no shared counter, and bounds how much
    # one key may encrypt: docs/encrypted-payloads.md says how much.
    nonce = os.urandom(NONCE_BYTES)
    data = key.cipher().encrypt(nonce, plaintext, place.associated_data(key.id))
    return {
        MARK: {"v": VERSION, "kid": key.id, "nonce": _to_base64(nonce), "data": _to_base64(data)}
    }


def _decrypt(document: Any, place: Place) -> tuple[bytes, Keys]:
    what = f"the {place.purpose}"
    key_id, nonce, data = _read(document, what)
    all_keys = keys()
    key = all_keys.find(key_id, what)
    cipher = key.cipher()
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(nonce, data, place.associated_data(key_id)), all_keys
    except InvalidTag:
        raise EncryptionError(
            f"{what} cannot be decrypted with the key {key_id}: it was changed or truncated, "
            "it was encrypted for another job, another type or another purpose, or that id named "
            "a different key then"
        ) from None


def _read(document: Any, what: str) -> tuple[str, bytes, bytes]:
    """Key id, nonce and data. Strict: a document that differs in one bit is another document."""
    if not is_encrypted(document) or len(document) != 1:
        raise EncryptionError(f"{what} is not an object with the one member {MARK}")
    encrypted = document[MARK]
    if not isinstance(encrypted, dict) or encrypted.keys() != _FIELDS:
        raise EncryptionError(
            f"{what}: the members of {MARK} are not exactly v, kid, nonce and data"
        )
    version, key_id = encrypted["v"], encrypted["kid"]
    if type(version) is not int or version != VERSION:
        raise EncryptionError(f"{what}: the version v of the encrypted format is not {VERSION}")
    if not isinstance(key_id, str) or not is_key_id(key_id):
        raise EncryptionError(f"{what}: kid is not a key id")
    nonce = _from_base64(encrypted["nonce"])
    if nonce is None or len(nonce) != NONCE_BYTES:
        raise EncryptionError(
            f"{what}: nonce is not {NONCE_BYTES} bytes of base64url without padding"
        )
    data = _from_base64(encrypted["data"])
    if data is None or len(data) < TAG_BYTES:
        raise EncryptionError(f"{what}: data is not base64url without padding, or is truncated")
    return key_id, nonce, data


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_base64(text: object) -> bytes | None:
    """The bytes, or None where the text is not the one way to write them (RFC 4648, section 5)."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if _to_base64(data) == text else None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON (RFC 8259, section 6)
