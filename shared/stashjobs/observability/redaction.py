"""What may be shown of a text or an error: never a secret, and only what Postgres can store."""

from __future__ import annotations

import re
import traceback
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from stashjobs.config import settings
from stashjobs.errors import how_to_install

SECRET_SETTINGS = (
    "POSTGRES_URL",
    "POSTGRES_OWNER_URL",
    "POSTGRES_READ_URL",
    "QSTASH_TOKEN",
    "QSTASH_CURRENT_SIGNING_KEY",
    "QSTASH_NEXT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_TOKEN",
    "EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY",
    "EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY",
    "US_EAST_1_QSTASH_TOKEN",
    "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY",
    "US_EAST_1_QSTASH_NEXT_SIGNING_KEY",
    "RESEND_API_KEY",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "GITHUB_WEBHOOK_SECRET",
    "RESEND_WEBHOOK_SECRET",
    "PAYLOAD_KEYS",
    "ADMIN_TOKEN",
    "SENTRY_DSN",
    "FILES_LINK_SECRET",
    "OTEL_EXPORTER_OTLP_HEADERS",
)
_PASSWORD_IN_URL = re.compile(r"://[^:/@]*:([^@]+)@")
# No key that is told by its form is longer. Of longer ones, the form is at the beginning.
_LONGEST_KEY = 300
MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 4_000


def redact(text: str) -> str:
    """`text` without the value of any secret setting, or the password in one that is a URL."""
    for name in SECRET_SETTINGS:
        value = settings.known(name) or ""
        for secret in [value, *_PASSWORD_IN_URL.findall(value), *_keys_in(name, value)]:
            if len(secret) >= 8:
                text = text.replace(secret, f"[{name}]")
    return text


def _keys_in(name: str, value: str) -> list[str]:
    """Each of several secrets in one setting, alone; the ids of payload keys are none."""
    if name == "PAYLOAD_KEYS":
        return [entry.partition(":")[2].strip() for entry in value.split(",")]
    if name.endswith("_WEBHOOK_SECRET"):
        return [entry.strip() for entry in value.split(",")]
    if name == "OTEL_EXPORTER_OTLP_HEADERS":
        values = [entry.partition("=")[2].strip() for entry in value.split(",")]
        return [form for each in values for form in (each, unquote(each))]
    if name == "SENTRY_DSN":
        return [urlsplit(value).username or ""]
    return []


class Redacted(Exception):
    """What is left of an error whose words may show an encrypted payload: its type."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("not shown, since the job is encrypted")
        self.type_name = type(error).__name__


def describe_error(error: BaseException) -> dict[str, Any]:
    """An error as the row keeps it: type, message and trimmed traceback, secrets taken out.

    The end of a traceback says where it broke, so the beginning is what is trimmed.
    """
    if issubclass(type(error), Redacted):
        return {"type": type_name(error), "message": str(error)}
    message = _message(error)
    if type(error) is ModuleNotFoundError and error.name:
        message += f" ({how_to_install(error.name)})"
    trace = redact(_traceback(error))
    if len(trace) > MAX_TRACEBACK_CHARACTERS:
        trace = "…" + _end_of(trace, MAX_TRACEBACK_CHARACTERS)
    return {
        "type": type_name(error),
        "message": shortened(storable(redact(message))) or type_name(error),
        "traceback": storable(trace),
    }


def type_name(error: BaseException) -> str:
    """The error's type, also of one that is `Redacted`."""
    if issubclass(type(error), Redacted):
        return cast("Redacted", error).type_name
    return type(error).__name__


def one_line(error: BaseException) -> str:
    """`Type: message`, secrets taken out: an error for a log line or an answer."""
    described = describe_error(error)
    return f"{described['type']}: {described['message']}"


def shortened(text: str, characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """The beginning of a text, up to a space or a line's end where there is one: a key that is cut
    could no longer be told by its form, and a part of it would be shown."""
    if len(text) <= characters:
        return text
    end = max(text.rfind(space, characters - _LONGEST_KEY, characters + 1) for space in " \n")
    return text[: end if end > 0 else characters]


def _end_of(text: str, characters: int) -> str:
    """The last whole lines of so many characters; of a longer line, its end."""
    end = text[-characters:]
    line = end.find("\n") + 1
    return end[line:] if line < characters // 2 else end


def storable(text: str) -> str:
    """`text` as Postgres can keep it: without U+0000 and halves of surrogate pairs."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


# An error whose own methods raise, whatever they raise, is recorded all the same. Its type is asked
# for what it is: `isinstance` would ask the error.


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001
        return ""


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001
        frames = BaseException.__dict__["__traceback__"].__get__(error)
        return "".join(traceback.format_tb(frames)) + type(error).__name__
