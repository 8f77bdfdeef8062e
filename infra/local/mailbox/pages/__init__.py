"""The mailbox as web pages."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.local.mailbox.store import Mail

_DIR = Path(__file__).parent


def index(mails: Sequence[Mail], faults: list[dict[str, Any]]) -> str:
    page = _environment().get_template("index.html")
    return page.render(mails=mails, faults=faults)


def mail(mail: Mail, view: str, source: str, job_url: str | None) -> str:
    page = _environment().get_template("mail.html")
    return page.render(mail=mail, view=view, source=source, job_url=job_url)


def asset(name: str) -> str:
    return (_DIR / name).read_text(encoding="utf-8")


def when(moment: str) -> str:
    """`8 Jun 2026, 14:30:05`, in UTC, as everything else here."""
    at = datetime.fromisoformat(moment)
    return f"{at.day} {at:%b %Y, %H:%M:%S}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = when
    return environment
