"""QStash's regions: where messages are published, and whose signatures are accepted.

Each region has a token and signing keys of its own. The names of the settings are those that
Upstash's SDKs read (Upstash docs, "Select a Region"): `QSTASH_REGION` chooses, and
`US_EAST_1_QSTASH_TOKEN` and the like belong to one region. While an account moves, messages of both
regions arrive.
"""

from __future__ import annotations

from typing import NamedTuple

from stashjobs.config import settings
from stashjobs.errors import SettingError

SETTING = "QSTASH_REGION"
REGIONS = {
    "EU_CENTRAL_1": "https://qstash.upstash.io",
    "US_EAST_1": "https://qstash-us-east-1.upstash.io",
}
# What Upstash's SDKs take where nothing else is said.
DEFAULT_URL = REGIONS["EU_CENTRAL_1"]


class Account(NamedTuple):
    """Where messages are published, and with which token."""

    url: str
    token: str


def account() -> Account:
    """Of the region that `QSTASH_REGION` names, where its token is set; else `QSTASH_URL` and
    `QSTASH_TOKEN`.

    Raises:
        SettingError: There is no token, or no such region.
    """
    region = chosen()
    if region is not None and (token := settings.optional(f"{region}_QSTASH_TOKEN")):
        return Account(settings.optional(f"{region}_QSTASH_URL", REGIONS[region]), token)
    url = settings.optional("QSTASH_URL", REGIONS[region] if region else DEFAULT_URL)
    return Account(url, settings.require("QSTASH_TOKEN"))


def chosen() -> str | None:
    """`EU_CENTRAL_1` or `US_EAST_1`; None where `QSTASH_REGION` is not set.

    Raises:
        SettingError: It is neither.
    """
    given = settings.optional(SETTING)
    if given is None:
        return None
    region = given.upper().replace("-", "_")
    if region not in REGIONS:
        raise SettingError(f"{SETTING} must be {' or '.join(REGIONS)}.")
    return region


def signing_keys() -> tuple[str, ...]:
    """The current and the next key of each region that has keys, those without a region first. A
    message is accepted by any of them.

    Raises:
        SettingError: There is none, or only one of a pair.
    """
    prefixes = [f"{region}_" for region in REGIONS]
    pairs = {prefix: _pair(prefix) for prefix in ("", *prefixes)}
    given = {prefix: pair for prefix, pair in pairs.items() if any(pair)}
    return tuple(
        key or settings.require(prefix + name)
        for prefix, pair in (given or {"": pairs[""]}).items()
        for name, key in zip(_NAMES, pair, strict=True)
    )


_NAMES = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")


def _pair(prefix: str) -> tuple[str | None, ...]:
    return tuple(settings.optional(prefix + name) for name in _NAMES)
