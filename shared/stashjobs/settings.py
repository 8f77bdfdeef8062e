"""Settings, by the names of the environment variables that hold them.

The one place that knows where a setting comes from. A setting is read when it is needed, so a
Lambda that sends no email never asks for `RESEND_API_KEY`.
"""

from __future__ import annotations

import os
from typing import overload

from stashjobs.errors import SettingError


def require(name: str) -> str:
    """The value of a setting that must be there.

    Raises:
        SettingError: It is missing or blank; the message says where to put it.
    """
    value = optional(name)
    if value is None:
        raise SettingError(
            f"{name} is not set. Put it in .env or in the secret stashjobs/{stage()} "
            "(see docs/deployment.md)."
        )
    return value


@overload
def optional(name: str) -> str | None: ...
@overload
def optional(name: str, default: str) -> str: ...
def optional(name: str, default: str | None = None) -> str | None:
    """The value of a setting, or `default` where it is missing or blank."""
    return os.environ.get(name, "").strip() or default


def whole_number(name: str, default: int) -> int:
    """A setting that counts something.

    Raises:
        SettingError: It is there but not a whole number of 0 or more.
    """
    value = optional(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdigit():
        raise SettingError(f"{name} is {value!r}; it must be a whole number of 0 or more.")
    return int(value)


def stage() -> str:
    """`production`, `staging` or `local` (the default)."""
    return optional("STAGE", "local")


def postgres_url() -> str:
    """`POSTGRES_URL`, checked to be one.

    Raises:
        SettingError: It is missing or not a Postgres URL. The value is never shown: it holds a
            password.
    """
    value = require("POSTGRES_URL")
    if not value.startswith(("postgres://", "postgresql://")):
        raise SettingError(
            "POSTGRES_URL is not a Postgres URL; "
            "it must look like postgresql://user:password@host:5432/database."
        )
    return value


def base_url() -> str:
    """`BASE_URL`, without a slash at its end: where QStash finds the job routes.

    Raises:
        SettingError: It is missing or not an http(s) URL.
    """
    value = require("BASE_URL")
    if not value.startswith(("http://", "https://")):
        raise SettingError(f"BASE_URL is {value!r}; it must start with https:// (or http://).")
    return value.rstrip("/")


def signing_keys() -> tuple[str, str]:
    """QStash's current and next signing key.

    Raises:
        SettingError: One of them is missing.
    """
    return require("QSTASH_CURRENT_SIGNING_KEY"), require("QSTASH_NEXT_SIGNING_KEY")
