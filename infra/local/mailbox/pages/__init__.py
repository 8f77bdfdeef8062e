"""The mailbox as web pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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


def mail(mail: Mail, view: str, source: str) -> str:
    return _environment().get_template("mail.html").render(mail=mail, view=view, source=source)


def asset(name: str) -> str:
    return (_DIR / name).read_text(encoding="utf-8")


def when(moment: str) -> str:
    """`14:30:05` today, `8 Jun 14:30` before; UTC, as everything else here."""
    at = datetime.fromisoformat(moment)
    today = datetime.now(UTC) - at < timedelta(hours=20)
    return f"{at:%H:%M:%S}" if today else f"{at.day} {at:%b %H:%M}"


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
