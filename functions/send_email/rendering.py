"""From an `Email` to its subject, HTML and text. Imports Jinja: import it where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from functions.send_email.formatting import date, date_time, interval, money

if TYPE_CHECKING:
    from functions.send_email.models import Email

TEMPLATE_DIR = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Brand:
    """Whose emails these are."""

    name: str
    url: str = ""
    support_email: str = ""
    logo_url: str = ""


@dataclass(frozen=True)
class Rendered:
    """The three parts of an email that a person sees."""

    subject: str
    html: str
    text: str


def render(email: Email, brand: Brand) -> Rendered:
    """The same email and brand always give the same bytes.

    Resend compares the body of a repeated idempotency key, so nothing that changes from one
    attempt to the next, such as the current time, may be rendered.
    """
    environment = _environment()
    values: dict[str, Any] = {"brand": brand, "data": email.data, "template": email.template}
    subject = email.subject or environment.from_string(email.data.subject).render(values)
    subject = " ".join(subject.split())
    values["subject"] = subject
    return Rendered(
        subject=subject,
        html=environment.get_template(f"{email.template}.html").render(values),
        text=environment.get_template(f"{email.template}.txt").render(values).strip() + "\n",
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters.update(money=money, date=date, date_time=date_time, interval=interval)
    return environment
