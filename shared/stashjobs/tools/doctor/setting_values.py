"""Settings: each is there, has the right shape, and is not a developer's."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from stashjobs import encryption
from stashjobs.config import qstash_region, settings
from stashjobs.errors import SettingError
from stashjobs.job_type import declared, is_left_out
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow
from stashjobs.wording import plural

EXAMPLE_DOMAINS = ("example.com", "example.org", "example.net", "example", "test", "invalid")
LOCAL_NAMES = ("localhost", "host.docker.internal", "local", "internal")
# Of the official dev server (Upstash docs, "Local Development"): everybody has it.
QSTASH_DEV_TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="  # noqa: S105
SHORTEST_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """What a setting looks like.

    Attributes:
        name: The setting.
        pattern: Its whole value.
        like: The pattern in words; never a value.
        needed: False where the system works without it.
        of: The job type that alone needs it; None where it is the system's.
    """

    name: str
    pattern: str
    like: str
    needed: bool = True
    of: str | None = None


def _several(pattern: str) -> str:
    """One, or while it is rotated several with commas between them."""
    return rf"{pattern}(\s*,\s*{pattern})*"


STRIPE = "process-stripe-webhook"
SHAPES = (
    Shape("STAGE", r"local|dev|staging|production", "staging or production"),
    Shape("BASE_URL", r"https?://[^/\s]+(/\S*)?", "https://jobs.yourapp.com"),
    Shape(
        "POSTGRES_URL",
        r"postgres(ql)?://[^@\s]+@[^/\s]+/[^\s]+",
        "postgresql://user:password@host:5432/database",
    ),
    Shape("POSTGRES_READ_URL", r"postgres(ql)?://\S+", "a Postgres URL", needed=False),
    Shape("QSTASH_REGION", "|".join(qstash_region.REGIONS), "EU_CENTRAL_1", needed=False),
    Shape("QSTASH_URL", r"https?://\S+", "https://qstash.upstash.io", needed=False),
    Shape("QSTASH_TOKEN", r"\S{16,}", "the token in the Upstash console"),
    Shape("QSTASH_CURRENT_SIGNING_KEY", r"sig_\S{8,}", "sig_..."),
    Shape("QSTASH_NEXT_SIGNING_KEY", r"sig_\S{8,}", "sig_..."),
    Shape("RESEND_API_KEY", r"re_\S{8,}", "re_...", of="send-email"),
    Shape(
        "RESEND_FROM_EMAIL",
        r"[^@]*[^@\s]@[^@\s]+\.[^@\s]+",
        "Acme <jobs@yourapp.com>",
        of="send-email",
    ),
    Shape("STRIPE_SECRET_KEY", r"[sr]k_(live|test)_\S+", "rk_live_... or sk_live_...", of=STRIPE),
    Shape("STRIPE_WEBHOOK_SECRET", _several(r"whsec_[^\s,]{8,}"), "whsec_...", of=STRIPE),
    Shape("GITHUB_WEBHOOK_SECRET", _several(r"[^\s,]{16,}"), "16 characters or more", needed=False),
    Shape("RESEND_WEBHOOK_SECRET", _several(r"whsec_[^\s,]{8,}"), "whsec_...", needed=False),
    Shape("BILLING_URL", r"https?://\S+", "https://yourapp.com/billing", needed=False),
    Shape("SENTRY_DSN", r"https://\S+@\S+/\d+", "https://key@host/project", needed=False),
)


def has_right_shape(shape: Shape) -> Verdict:
    """It is there, and looks like one."""
    value = settings.optional(shape.name)
    of_regions = [f"{region}_{shape.name}" for region in qstash_region.REGIONS]
    if value is None and (found := [name for name in of_regions if settings.optional(name)]):
        return green(f"set for a region: {', '.join(found)}")
    if value is None and shape.of is not None and is_left_out(shape.of):
        return not_checked(f"{shape.of} is left out of this stage")
    if value is None and shape.needed:
        return red(*_missing(shape.name))
    if value is None:
        return not_checked("it is optional, and not set")
    if not re.fullmatch(shape.pattern, value):
        return red("set, and not of the right shape", f"it must look like {shape.like}")
    return green("set")


def _missing(name: str) -> tuple[str, str]:
    try:
        settings.require(name)
    except SettingError as error:
        return "not set", str(error)
    return "not set", ""


def has_payload_keys() -> Verdict:
    """Encrypted payloads can be decrypted: needed where a type is declared encrypted."""
    encrypted = [job.type for job in declared() if job.encrypted]
    if settings.optional(encryption.SETTING) is None:
        if encrypted:
            return red(f"not set, and {', '.join(encrypted)} need it", "stashjobs keys new")
        return not_checked("it is not set, and no job type is declared encrypted")
    known = encryption.keys()
    return green(f"{plural(len(known.by_id), 'key')}, current is {known.current.id}")


def has_good_admin_token() -> Verdict:
    """The token with every scope is long, and gone once there are others."""
    value = settings.optional("ADMIN_TOKEN")
    if value is None:
        return green("not set: people and programs have tokens of their own")
    if len(value) < SHORTEST_TOKEN:
        return red(
            f"shorter than {SHORTEST_TOKEN} characters, so it can be guessed",
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if settings.stage() != "production":
        return green("set")
    return yellow(
        "set, with every scope and no end",
        "stashjobs tokens new NAME --scope ..., then take ADMIN_TOKEN out of the secret",
    )


def has_nothing_of_development() -> Verdict:
    """No test key, local address or example address in a deployed stage."""
    stage = settings.stage()
    if stage == "local":
        return not_checked("this is the local stage")
    found = {name: why for name, why in _suspicions().items() if why}
    if stage != "production":
        found.pop("STRIPE_SECRET_KEY", None)  # a test key is what belongs there
    if found:
        told = "; ".join(f"{name} is {why}" for name, why in found.items())
        return red(told, f"put {stage}'s own values into the secret stashjobs/{stage}")
    if stage != "production" and "_live_" in settings.optional("STRIPE_SECRET_KEY", ""):
        return yellow(
            f"STRIPE_SECRET_KEY is a live key in {stage}: its jobs move real subscriptions",
            "put the test mode's key into the secret",
        )
    return green("none found")


def _suspicions() -> dict[str, str]:
    """Why each setting looks like a developer's; empty where it does not."""
    values = {shape.name: settings.optional(shape.name, "") for shape in SHAPES}
    addresses = ("STRIPE_API_BASE", "RESEND_API_URL")
    values |= {name: settings.optional(name, "") for name in ("ADMIN_TOKEN", *addresses)}
    return {name: _why_development(name, value) for name, value in values.items() if value}


def _why_development(name: str, value: str) -> str:
    if re.search(r"(?i)\b(change.?me|replace.?me|your_\w+|placeholder)\b", value):
        return "a placeholder"
    if name == "STRIPE_SECRET_KEY":
        return "a test key" if re.match(r"[sr]k_test_", value) else ""
    if name in {"STRIPE_API_BASE", "RESEND_API_URL"}:
        official = re.fullmatch(r"https://api\.(stripe|resend)\.com/?", value)
        return "" if official else "an address other than the official one"
    if value == QSTASH_DEV_TOKEN or re.match(r"(sj_|re_)?local_", value):
        return "the local stack's"
    if name == "RESEND_FROM_EMAIL":
        domain = value.rpartition("@")[2].rstrip("> ")
        return "an example address" if _is_example(domain) or domain == "resend.dev" else ""
    if "://" in value:
        host = urlsplit(value).hostname or ""
        return "a local address" if _is_local(host) else "an example" if _is_example(host) else ""
    return ""


def _is_example(domain: str) -> bool:
    """RFC 2606's names."""
    return any(
        domain.lower() == each or domain.lower().endswith(f".{each}") for each in EXAMPLE_DOMAINS
    )


def _is_local(host: str) -> bool:
    """Loopback, or a name that means one's own machine. An address of a private network is not: in
    a VPC that is where Postgres is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower()
        return any(name == each or name.endswith((".localhost", ".local")) for each in LOCAL_NAMES)
    return address.is_loopback or address.is_unspecified


def base_url_is_https() -> Verdict:
    """Payloads of callers and tokens are not to be read on the way."""
    url = settings.base_url()
    if url.startswith("https://"):
        return green("https")
    if settings.stage() == "local":
        return not_checked("this is the local stage")
    return red("plain http", "set BASE_URL to the https:// address of the deployed API")


CHECKS = (
    *(Check(shape.name, functools.partial(has_right_shape, shape)) for shape in SHAPES),
    Check("PAYLOAD_KEYS", has_payload_keys),
    Check("ADMIN_TOKEN", has_good_admin_token),
    Check("development credentials", has_nothing_of_development),
    Check("HTTPS", base_url_is_https),
)
