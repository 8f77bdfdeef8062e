"""Settings, by their names: in the environment, else in the stage's secret.

The one place that knows where a setting comes from. A setting is read when it is needed, so a
Lambda that sends no email never asks for `RESEND_API_KEY`, and a setting that is rotated is found
without a deploy (docs/settings.md).
"""

from __future__ import annotations

import os
from typing import overload

from stashjobs.config import stage_secret
from stashjobs.errors import SettingError

# A value in the secret that does not work may be one that was rotated since it was read; reading it
# again is worth it once in so many seconds.
ROTATED_SECONDS = 30.0
OWNER_URL = "POSTGRES_OWNER_URL"
_acts_as_owner = False


def require(name: str) -> str:
    """The value of a setting that must be there.

    Raises:
        SettingError: It is missing, blank or still a placeholder, or the secret cannot be read; the
            message says where to put it.
    """
    value = optional(name)
    if value is None:
        raise SettingError(f"{name} {_why_missing(name)} (see docs/settings.md).")
    return value


@overload
def optional(name: str) -> str | None: ...
@overload
def optional(name: str, default: str) -> str: ...
def optional(name: str, default: str | None = None) -> str | None:
    """The value of a setting, or `default` where it is missing, blank or a placeholder.

    Raises:
        SettingError: It is not in the environment, and there is a secret that was never read and
            cannot be: it is unknown whether it is set.
    """
    value = os.environ.get(name, "").strip()
    if not value and name not in _NEVER_IN_THE_SECRET:
        value = (stage_secret.value(name) or "").strip()
    return default if not value or _is_placeholder(value) else value


def known(name: str) -> str | None:
    """The value of a setting as far as it is known without asking: for the log and for what takes
    secrets out of it, which must neither fail nor wait."""
    value = os.environ.get(name, "").strip() or (stage_secret.known_value(name) or "").strip()
    return None if not value or _is_placeholder(value) else value


def refresh() -> bool:
    """Look whether the secret was rotated. True: it was, so what did not work is worth another try.
    At most once in `ROTATED_SECONDS`; False without a secret."""
    return stage_secret.refresh(older_than=ROTATED_SECONDS)


def whole_number(name: str, default: int) -> int:
    """A setting that counts something.

    Raises:
        SettingError: It is there but not a whole number of 0 or more.
    """
    value = optional(name)
    if value is None:
        return default
    if not value.isascii() or not value.isdigit():
        raise SettingError(f"{name} must be a whole number of 0 or more.")
    return int(value)


def is_lambda_of(module: str) -> bool:
    """Whether this process is the Lambda whose handler is in this module (AWS docs, "Defined
    runtime environment variables"). What its first delivery will need is best imported while it is
    initialised: that is when Lambda gives it time, and before a request waits where it is kept
    ready (provisioned concurrency)."""
    return os.environ.get("_HANDLER", "").rpartition(".")[0] == module


def stage() -> str:
    """`production`, `staging`, `dev` or `local` (the default)."""
    return optional("STAGE", "local")


def act_as_owner(*, acts: bool = True) -> None:
    """Have `postgres_url` lead to the role that owns the tables from now on, where
    `POSTGRES_OWNER_URL` says which: for what the functions' own role may not do."""
    global _acts_as_owner  # noqa: PLW0603 - a command line does one thing at a time
    _acts_as_owner = acts


def postgres_url() -> str:
    """`POSTGRES_URL`, checked to be one; or `POSTGRES_OWNER_URL` (`act_as_owner`).

    Raises:
        SettingError: It is missing or not a Postgres URL. The value is never shown: it holds a
            password.
    """
    value = (optional(OWNER_URL) if _acts_as_owner else None) or require("POSTGRES_URL")
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
        raise SettingError("BASE_URL must start with https:// (or http://).")
    return value.rstrip("/")


# What says which secret there is cannot be in it.
_NEVER_IN_THE_SECRET = frozenset({"STAGE", stage_secret.SETTING, stage_secret.TTL_SETTING})


def _is_placeholder(value: str) -> bool:
    return value.startswith(stage_secret.PLACEHOLDER)


def _why_missing(name: str) -> str:
    secret = stage_secret.name_of_secret()
    here, there = os.environ.get(name, "").strip(), stage_secret.known_value(name)
    if _is_placeholder(here or there or ""):
        place = "the environment" if here else f"the secret {secret}"
        return (
            f"is still the placeholder {stage_secret.PLACEHOLDER} in {place}. "
            "Put the true value there"
        )
    if secret is not None:
        return f"is not set. Put it in the secret {secret}"
    if stage() == "local":
        return (
            "is not set. The stage is local: `stashjobs dev` writes its settings to "
            ".stashjobs/dev.env, and dotenv -f .stashjobs/dev.env run -- python app.py gives them "
            "to an app"
        )
    return f"is not set. Put it in the environment or in the secret stashjobs/{stage()}"
