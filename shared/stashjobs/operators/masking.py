"""What a person is shown of a payload or a result: values of members that look secret are hidden.

Rows hold what apps gave. A user of the dashboard or the command line sees what a job is about, not
the password in it.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from stashjobs import encryption
from stashjobs.observability import redaction

HIDDEN = "[hidden]"
_SECRET_WORDS = {
    "password", "passwd", "passphrase", "pwd", "token", "secret", "authorization", "auth", "cookie",
    "credential", "credentials", "apikey", "otp", "pin", "card", "cardnumber", "cvc", "cvv", "iban",
    "ssn", "signature", "bearer", "jwt", "session", "csrf",
}  # fmt: skip
_SECRET_PAIRS = {
    ("api", "key"), ("private", "key"), ("secret", "key"), ("access", "key"), ("signing", "key"),
    ("encryption", "key"), ("account", "number"), ("security", "code"), ("one", "time"),
    # These links work without a password.
    ("reset", "url"), ("secure", "account"), ("confirm", "url"), ("invite", "url"),
    ("verify", "url"), ("verification", "url"), ("update", "payment"), ("download", "url"),
    ("magic", "link"), ("login", "url"), ("webhook", "url"), ("database", "url"),
    ("postgres", "url"),
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# A link that signs in or resets carries its secret in the query string or the fragment.
_SECRET_IN_URL = re.compile(
    r"(?i)([?&#;](?:[\w-]*(?:token|secret|signature|password|api_?key|code|sig|auth))=)[^&#\s\"']+"
)
_USER_IN_URL = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEYS = re.compile(
    r"\b(?:sk|rk|pk)_(?:live|test)_\w{8,}|\b(?:re|sj|whsec)_\w{12,}|\bAKIA[A-Z0-9]{16}\b"
)


def mask(document: Any) -> Any:
    """The document with likely secrets hidden. An encrypted document is not decrypted."""
    if encryption.is_encrypted(document):
        return {encryption.MARK: "encrypted; not decrypted here"}
    if isinstance(document, dict):
        return {
            name: HIDDEN if is_secret(name) and value not in (None, "", [], {}) else mask(value)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [mask(value) for value in document]
    return mask_text(document) if isinstance(document, str) else document


def mask_text(text: str) -> str:
    """A text, such as an error, without the secrets that can be told by their form."""
    text = redaction.redact(text)
    text = _SECRET_IN_URL.sub(rf"\1{HIDDEN}", text)
    text = _USER_IN_URL.sub(rf"\1{HIDDEN}@", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _KEYS.sub(HIDDEN, text)


def is_secret(name: str) -> bool:
    """Whether a member of this name is hidden: `password`, `resetToken`, `API_KEY`, `card`."""
    words = [word.lower() for word in _WORD.findall(name)]
    singular = [word.removesuffix("s") for word in words]
    if not _SECRET_WORDS.isdisjoint(words + singular):
        return True
    return any(pair in _SECRET_PAIRS for pair in itertools.pairwise(singular))
