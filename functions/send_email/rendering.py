"""From an `Email` to its subject, HTML and text. Imports Jinja: import it where it is needed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    ModuleLoader,
    StrictUndefined,
    select_autoescape,
)

from functions.send_email.formatting import date, date_time, interval, money

if TYPE_CHECKING:
    from functions.send_email.models import Email

TEMPLATE_DIR = Path(__file__).parent / "templates"
# Only in what goes to Lambda (`compile_templates`).
COMPILED_DIR = Path(__file__).parent / "compiled_templates"


class Brand(NamedTuple):
    """Whose emails these are."""

    name: str
    url: str = ""
    support_email: str = ""
    logo_url: str = ""


class Rendered(NamedTuple):
    """The three parts of an email that a person sees."""

    subject: str
    html: str
    text: str


def render(email: Email, brand: Brand) -> Rendered:
    """The same email and brand always give the same bytes.

    Resend compares the body of a repeated idempotency key, so nothing that changes from one
    attempt to the next, such as the current time, may be rendered.
    """
    templates = environment()
    values: dict[str, Any] = {"brand": brand, "data": email.data, "template": email.template}
    subject = email.subject or templates.from_string(email.data.subject).render(values)
    subject = " ".join(subject.split())
    values["subject"] = subject
    return Rendered(
        subject=subject,
        html=templates.get_template(f"{email.template}.html").render(values),
        text=templates.get_template(f"{email.template}.txt").render(values).strip() + "\n",
    )


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Where templates come from, and the filters they may use."""
    made = Environment(
        loader=ChoiceLoader([ModuleLoader(COMPILED_DIR), FileSystemLoader(TEMPLATE_DIR)]),
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters.update(money=money, date=date, date_time=date_time, interval=interval)
    return made
