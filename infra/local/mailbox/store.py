"""The caught emails, in memory and, where there is a state directory, in one JSON Lines file."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 1000
IDEMPOTENCY_WINDOW = timedelta(hours=24)
# Resend's own test addresses, and the event each leads to.
_TEST_EVENTS = {"bounced", "complained", "suppressed"}


@dataclass
class Mail:
    """One email as it was handed over, and what became of it."""

    id: str
    created_at: str
    sender: str
    to: list[str]
    subject: str
    html: str | None = None
    text: str | None = None
    cc: list[str] = field(default_factory=list)
    bcc: list[str] = field(default_factory=list)
    reply_to: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    attachments: list[str] = field(default_factory=list)
    scheduled_at: str | None = None
    last_event: str = "delivered"
    idempotency_key: str | None = None
    fingerprint: str | None = None

    @property
    def template(self) -> str:
        return self.tags.get("template", "")


@dataclass
class _Answered:
    fingerprint: str
    ids: list[str]
    at: datetime


def fingerprint(body: Any) -> str:
    """Equal for equal JSON, whatever the order of its keys."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def event_for(recipients: list[str]) -> str:
    """`bounced` for `bounced+anything@resend.dev`, and so on; everything else is delivered."""
    for recipient in recipients:
        local, _, domain = recipient.rpartition("<")[2].rstrip(">").rpartition("@")
        name = local.partition("+")[0]
        if domain == "resend.dev" and name in _TEST_EVENTS:
            return name
    return "delivered"


class Store:
    """The last 1000 emails, and the answer to every idempotency key of the last 24 hours."""

    def __init__(self, state: Path | None) -> None:
        self._mails: dict[str, Mail] = {}
        self._answered: dict[str, _Answered] = {}
        self._file = state / "mails.jsonl" if state else None
        self._lines = 0
        if state and self._file:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load(self._file)

    def newest_first(self) -> list[Mail]:
        return list(reversed(self._mails.values()))

    def get(self, mail_id: str) -> Mail | None:
        return self._mails.get(mail_id)

    def answered(self, key: str) -> tuple[str, list[str]] | None:
        """The fingerprint and ids that a key was used for, while Resend would remember it."""
        known = self._answered.get(key)
        if known is None or datetime.now(UTC) - known.at > IDEMPOTENCY_WINDOW:
            return None
        return known.fingerprint, known.ids

    def add(self, mails: list[Mail], key: str | None, print_: str) -> list[str]:
        for mail in mails:
            mail.idempotency_key, mail.fingerprint = key, print_
            self._remember(mail)
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(mail)) + "\n" for mail in mails)
            self._lines += len(mails)
            if self._lines > 2 * KEPT:
                self._rewrite(self._file)
        return [mail.id for mail in mails]

    def clear(self) -> None:
        self._mails.clear()
        self._answered.clear()
        if self._file:
            self._rewrite(self._file)

    def _remember(self, mail: Mail) -> None:
        self._mails[mail.id] = mail
        while len(self._mails) > KEPT:
            del self._mails[next(iter(self._mails))]
        if mail.idempotency_key and mail.fingerprint:
            known = self._answered.get(mail.idempotency_key)
            if known is None or known.fingerprint != mail.fingerprint:
                known = _Answered(mail.fingerprint, [], datetime.fromisoformat(mail.created_at))
                self._answered[mail.idempotency_key] = known
            known.ids.append(mail.id)

    def _load(self, file: Path) -> None:
        if not file.exists():
            return
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                self._lines += 1
                try:
                    self._remember(Mail(**json.loads(line)))
                except (ValueError, TypeError):
                    continue  # a line cut off by a crash, or one of another version
        self._rewrite(file)

    def _rewrite(self, file: Path) -> None:
        new = file.with_suffix(".new")
        with new.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(mail)) + "\n" for mail in self._mails.values())
        new.replace(file)
        self._lines = len(self._mails)


def new_id() -> str:
    return str(uuid.uuid4())


def now() -> str:
    return datetime.now(UTC).isoformat()
