"""What can be sent: one `Email`, and one data model per template."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

# Line breaks and other control characters would end a header, or forge the next one. The bidi
# overrides can make an address or a name read as another one.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BARE_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
_NAMED_ADDRESS = re.compile(r"(?P<name>\"[^\"<>]*\"|[^\"<>]*?)\s*<(?P<address>[^<>\s]+)>")


def bare_address(address: str) -> str:
    """`ada@example.com` out of `Ada <ada@example.com>`."""
    named = _NAMED_ADDRESS.fullmatch(address)
    return named["address"] if named else address


def display_name(address: str) -> str:
    """`Ada` out of `Ada <ada@example.com>`; empty where there is none."""
    named = _NAMED_ADDRESS.fullmatch(address)
    return named["name"].strip('" ') if named else ""


def _one_line(value: str) -> str:
    if _FORBIDDEN.search(value):
        raise PydanticCustomError(
            "control_character", "must be one line, without control characters"
        )
    return value


def _address(value: str) -> str:
    if not _BARE_ADDRESS.fullmatch(bare_address(_one_line(value))):
        raise PydanticCustomError(
            "email_address",
            "must be an email address, such as ada@example.com or Ada <ada@example.com>",
        )
    return value


def _link(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[\s\\<>\"]", value):
        raise PydanticCustomError("link", "must be an absolute http or https link")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("link", "must not carry a user name or password")
    return _one_line(value)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Address = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=320), AfterValidator(_address)
]
Addresses = Annotated[list[Address], BeforeValidator(_listed), Field(max_length=50)]
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_line),
]
Link = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_link)]
Currency = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z]{3}$")
]
MinorUnits = Annotated[int, Field(ge=0, le=99_999_999_999, strict=True)]
TagText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,256}$")]


class _Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown in either."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class TemplateData(_Wire):
    """What one template needs. `subject` is a Jinja line; it sees what the template sees."""

    # A cold start sends one email, and builds the validator of its template alone.
    model_config = ConfigDict(defer_build=True)
    subject: ClassVar[str]

    @classmethod
    def example(cls) -> dict[str, Any]:
        """The example of the JSON schema: data that is valid for this template."""
        extra = cls.model_config.get("json_schema_extra")
        examples: Any = extra.get("examples") if isinstance(extra, dict) else None
        return dict(examples[0])


class Welcome(TemplateData):
    """The account exists: say hello, and show the first step."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Ada Lovelace", "getStartedUrl": "https://app.example.com/start"}]
        }
    )
    subject: ClassVar[str] = "Welcome to {{ brand.name }}, {{ data.name }}"

    name: Line
    get_started_url: Link


class PasswordReset(TemplateData):
    """Password reset: the link, and until when it works."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ada Lovelace",
                    "resetUrl": "https://app.example.com/reset?token=3f9c2b7e51",
                    "expiresAt": "2026-06-09T14:30:00Z",
                }
            ]
        }
    )
    subject: ClassVar[str] = "Reset your {{ brand.name }} password"

    name: Line
    reset_url: Link
    expires_at: AwareDatetime


class PasswordChanged(TemplateData):
    """The password is another one now: when, from where, and what to do if it was not you."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ada Lovelace",
                    "changedAt": "2026-06-09T14:12:00Z",
                    "secureAccountUrl": "https://app.example.com/reset",
                    "device": "Firefox on Linux",
                    "ipAddress": "203.0.113.7",
                }
            ]
        }
    )
    subject: ClassVar[str] = "Your {{ brand.name }} password was changed"

    name: Line
    changed_at: AwareDatetime
    secure_account_url: Link
    device: Line | None = None
    ip_address: Line | None = None


class EmailChange(TemplateData):
    """Goes to the new address: confirm that it is yours."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ada Lovelace",
                    "newEmail": "ada@analytical.example",
                    "confirmUrl": "https://app.example.com/confirm?token=a81d04c6",
                    "expiresAt": "2026-06-10T14:30:00Z",
                }
            ]
        }
    )
    subject: ClassVar[str] = "Confirm your new email address"

    name: Line
    new_email: Address
    confirm_url: Link
    expires_at: AwareDatetime


class TeamInvitation(TemplateData):
    """An invitation to a team: who invites, which team, which role."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inviterName": "Grace Hopper",
                    "inviterEmail": "grace@example.com",
                    "teamName": "Compilers",
                    "role": "Editor",
                    "inviteUrl": "https://app.example.com/join/7c1f",
                    "expiresAt": "2026-06-16T14:30:00Z",
                }
            ]
        }
    )
    subject: ClassVar[str] = "{{ data.inviter_name }} invited you to {{ data.team_name }}"

    inviter_name: Line
    team_name: Line
    invite_url: Link
    expires_at: AwareDatetime
    inviter_email: Address | None = None
    role: Line | None = None


class SubscriptionCreated(TemplateData):
    """A plan begins: what it costs, how often, and when it renews."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ada Lovelace",
                    "planName": "Team",
                    "amount": 124900,
                    "currency": "EUR",
                    "interval": "year",
                    "renewsAt": "2027-06-09T00:00:00Z",
                    "manageUrl": "https://app.example.com/billing",
                    "invoiceUrl": "https://app.example.com/invoices/2026-0042",
                }
            ]
        }
    )
    subject: ClassVar[str] = "Your {{ brand.name }} {{ data.plan_name }} plan is active"

    name: Line
    plan_name: Line
    amount: MinorUnits | None = None
    currency: Currency
    manage_url: Link
    interval: Literal["day", "week", "month", "year"] = "month"
    interval_count: Annotated[int, Field(ge=1, le=365)] = 1
    renews_at: AwareDatetime | None = None
    trial_ends_at: AwareDatetime | None = None
    invoice_url: Link | None = None


class PaymentFailed(TemplateData):
    """A charge was declined: how much, why, and when it is tried again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Ada Lovelace",
                    "amount": 4900,
                    "currency": "USD",
                    "updatePaymentUrl": "https://app.example.com/billing/card",
                    "planName": "Team",
                    "invoiceNumber": "2026-0042",
                    "cardBrand": "Visa",
                    "cardLast4": "4242",
                    "reason": "The card has expired.",
                    "nextAttemptAt": "2026-06-12T09:00:00Z",
                }
            ]
        }
    )
    subject: ClassVar[str] = (
        "Your payment of {{ data.amount | money(data.currency) }} did not go through"
    )

    name: Line
    amount: MinorUnits
    currency: Currency
    update_payment_url: Link
    plan_name: Line | None = None
    invoice_number: Line | None = None
    card_brand: Line | None = None
    card_last4: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")] | None = None
    reason: Line | None = None
    next_attempt_at: AwareDatetime | None = None


class FileReady(TemplateData):
    """An export or a report is made: what it is, and until when it can be downloaded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "Your export of executions",
                    "downloadUrl": "https://files.example.com/exports/executions.csv?signature=5d1",
                    "expiresAt": "2026-06-10T14:30:00Z",
                    "description": "12,408 rows",
                    "size": "1.5 MB",
                }
            ]
        }
    )
    subject: ClassVar[str] = "{{ data.title }} is ready"

    title: Line
    # A link of S3 that was signed with a role's credentials carries its session token.
    download_url: Annotated[str, StringConstraints(max_length=4096), AfterValidator(_link)]
    expires_at: AwareDatetime
    description: Line | None = None
    size: Line | None = None


TemplateName = Literal[
    "welcome",
    "passwordReset",
    "passwordChanged",
    "emailChange",
    "teamInvitation",
    "subscriptionCreated",
    "paymentFailed",
    "fileReady",
]
TEMPLATES: dict[str, type[TemplateData]] = {
    "welcome": Welcome,
    "passwordReset": PasswordReset,
    "passwordChanged": PasswordChanged,
    "emailChange": EmailChange,
    "teamInvitation": TeamInvitation,
    "subscriptionCreated": SubscriptionCreated,
    "paymentFailed": PaymentFailed,
    "fileReady": FileReady,
}
if set(TEMPLATES) != set(get_args(TemplateName)):
    raise TypeError("TEMPLATES and TemplateName must name the same templates")


class Email(_Wire):
    """One email: to whom, which template, and the data of that template.

    `template` decides which model `data` must fit, so an error names the very field:
    `data.resetUrl: must be an absolute http or https link`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"to": "ada@example.com", "template": name, "data": model.example()}
                for name, model in TEMPLATES.items()
            ]
        }
    )

    to: Annotated[Addresses, Field(min_length=1)]
    template: TemplateName
    data: (
        Welcome
        | PasswordReset
        | PasswordChanged
        | EmailChange
        | TeamInvitation
        | SubscriptionCreated
        | PaymentFailed
        | FileReady
    )
    subject: Line | None = None
    reply_to: Addresses = []
    cc: Addresses = []
    bcc: Addresses = []
    tags: Annotated[dict[TagText, TagText], Field(max_length=50)] = {}

    @field_validator("data", mode="wrap")
    @classmethod
    def _data_fits_template(
        cls, value: Any, _handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> TemplateData:
        model = TEMPLATES.get(info.data.get("template", ""))
        if model is None:
            raise PydanticCustomError("template_unknown", "not checked: the template is not known")
        return model.model_validate(value)


class SentEmail(_Wire):
    """What Resend took: its id is the one in Resend's dashboard and webhooks."""

    email_id: str
    to: list[str]
    subject: str
