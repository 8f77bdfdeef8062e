"""Where webhooks come from: how each source signs, and where its events' names and ids are."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from functions.webhooks.schemes import HmacScheme, Scheme, StripeScheme
from stashjobs.config import settings
from stashjobs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME_CHARACTERS = 255
# Below this a comma that was meant as part of one secret has made a guessable one of its half.
MIN_SECRET_CHARACTERS = 8
# Of a key that Base64 was made of, and so a random one: 128 bits, the least that cannot be guessed.
# Svix's have 24 bytes.
MIN_KEY_BYTES = 16


class Unreadable(Exception):
    """A webhook, signed well, that lacks what is needed to record it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a webhook a name is: in a header (lower case), or in the body's JSON, at a path of
    member names with dots between them."""

    kind: Literal["header", "path"]
    name: str

    def read(self, headers: Mapping[str, str], document: Mapping[str, Any]) -> str:
        """The name.

        Raises:
            Unreadable: It is not there, or nothing that can be a name.
        """
        value = headers.get(self.name) if self.kind == "header" else self._follow(document)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise Unreadable(f"the {self} is missing")
        if len(value) > MAX_NAME_CHARACTERS or not value.isprintable():
            raise Unreadable(
                f"the {self} is not up to {MAX_NAME_CHARACTERS} characters that can be printed"
            )
        return value

    def _follow(self, document: Any) -> Any:
        for member in self.name.split("."):
            if not isinstance(document, dict):
                return None
            document = document.get(member)
        return document

    def __str__(self) -> str:
        return f"header {self.name}" if self.kind == "header" else f"member {self.name} of the body"


@dataclass(frozen=True, slots=True)
class Source:
    """One source.

    Attributes:
        name: The last part of its URL, the first of its idempotency keys.
        secret_setting: The setting that holds its secret, or several with commas between them.
        secret_is_base64: Whether a secret is Base64 of the key, and not the key itself.
        scheme: How it signs.
        event: Where the event's type is.
        id: Where the event's id is: the same whenever it is sent again. None: it has none, and
            the same body is taken for the same event.
    """

    name: str
    secret_setting: str
    scheme: Scheme
    event: Place
    id: Place | None
    secret_is_base64: bool = False

    def keys(self) -> list[bytes]:
        """Its secrets as keys, those of a rotation all at once.

        Raises:
            SettingError: There is none, or one is malformed. The value is never shown.
        """
        secrets = [each.strip() for each in settings.require(self.secret_setting).split(",")]
        if any(len(each) < MIN_SECRET_CHARACTERS for each in secrets):
            raise SettingError(
                f"{self.secret_setting} has a secret of less than {MIN_SECRET_CHARACTERS} "
                "characters; a comma stands between two secrets and cannot be in one."
            )
        if not self.secret_is_base64:
            return [each.encode() for each in secrets]
        try:
            keys = [_decode(each.removeprefix("whsec_")) for each in secrets]
        except binascii.Error:
            raise SettingError(
                f"{self.secret_setting} is not Base64 (after whsec_, where it begins so); "
                "copy it from the source's dashboard as it is."
            ) from None
        if any(len(key) < MIN_KEY_BYTES for key in keys):
            raise SettingError(
                f"{self.secret_setting} has a key of less than {MIN_KEY_BYTES} bytes once its "
                "Base64 is decoded; copy all of it from the source's dashboard."
            )
        return keys


def _decode(text: str) -> bytes:
    """Base64 with or without its padding, as Standard Webhooks' libraries take it."""
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


STRIPE = Source(
    name="stripe",
    secret_setting="STRIPE_WEBHOOK_SECRET",  # noqa: S106 - a setting's name
    scheme=StripeScheme(),
    event=Place("path", "type"),
    id=Place("path", "id"),
)
# GitHub docs, "Webhook events and payloads", "Delivery headers".
GITHUB = Source(
    name="github",
    secret_setting="GITHUB_WEBHOOK_SECRET",  # noqa: S106
    scheme=HmacScheme(header="x-hub-signature-256", prefix="sha256="),
    event=Place("header", "x-github-event"),
    id=Place("header", "x-github-delivery"),
)
# Resend docs, "Verify Webhooks Requests"; Svix docs, "Verifying Webhooks Manually".
RESEND = Source(
    name="resend",
    secret_setting="RESEND_WEBHOOK_SECRET",  # noqa: S106
    secret_is_base64=True,
    scheme=HmacScheme(
        header="svix-signature",
        prefix="v1,",
        encoding="base64",
        signed="{id}.{timestamp}.{body}",
        timestamp_header="svix-timestamp",
        id_header="svix-id",
    ),
    event=Place("path", "type"),
    id=Place("header", "svix-id"),
)
BUILT_IN = {each.name: each for each in (STRIPE, GITHUB, RESEND)}
