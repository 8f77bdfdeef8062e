"""What `Jobs.assert_enqueued` looks for, and how it says that it is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stashjobs import encryption
from stashjobs.encryption import Place
from stashjobs.job_type import JobType
from stashjobs.store.jsonb import to_json

TOLERANCE = timedelta(seconds=1)
# A delay counts from the call, the row's time from when it was written: a busy machine is slow.
LATE = timedelta(seconds=10)
SHOWN_CHARACTERS = 200

Row = dict[str, Any]


@dataclass(frozen=True)
class Expectation:
    """The arguments of `Jobs.assert_enqueued`; None: it is no matter."""

    job: JobType[Any, Any]
    payload: Any = None
    at: datetime | None = None
    delay: float | None = None
    idempotency_key: str | None = None
    user_id: str | None = None
    organization_id: str | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.at.tzinfo is None:
            raise ValueError("at has no time zone; give an aware datetime")

    def fits(self, row: Row) -> bool:
        """Whether this row is one of those that are looked for."""
        return row["job_type"] == self.job.type and not self.differences(row)

    def differences(self, row: Row) -> list[str]:
        """In what a row of this type differs, in words."""
        found = self._payload_differences(row)
        for name in ("idempotency_key", "user_id", "organization_id"):
            wanted = getattr(self, name)
            if wanted is not None and row[name] != wanted:
                found.append(f"{name} is {row[name]!r}, not {wanted!r}")
        due = row["available_at"]
        if self.at is not None and abs(due - self.at) > TOLERANCE:
            found.append(f"it is due at {due.isoformat()}, not at {self.at.isoformat()}")
        if self.delay is not None:
            waits = due - row["created_at"]
            delay = timedelta(seconds=self.delay)
            if not delay - LATE <= waits <= delay + TOLERANCE:
                found.append(f"its delay is {waits.total_seconds():.0f} s, not {self.delay:g} s")
        return found

    def explain(self, enqueued: list[Row], fitting: list[Row], times: int) -> str:
        """What is said when another number than `times` fits."""
        count = f"{len(fitting)} jobs fit, not {times}" if fitting or times else "none fits"
        lines = [f"{self.job.type}{self._wanted()}: {count}."]
        own = [row for row in enqueued if row["job_type"] == self.job.type]
        for row in own:
            lines.append(f"  {row['job_id']} {row['status']}{_details(row)}")
            lines.append(f"    payload {_shown_payload(row)}")
            lines += [f"    {difference}" for difference in self.differences(row)]
        if not own:
            lines.append(f"  No {self.job.type} was enqueued.")
        others: dict[str, int] = {}
        for row in enqueued:
            if row["job_type"] != self.job.type:
                others[row["job_type"]] = others.get(row["job_type"], 0) + 1
        if others:
            counts = ", ".join(f"{count} {job_type}" for job_type, count in sorted(others.items()))
            lines.append(f"  Of other types: {counts}.")
        return "\n".join(lines)

    def _payload_differences(self, row: Row) -> list[str]:
        if self.payload is None:
            return []
        encrypted = encryption.is_encrypted(row["payload"])
        wanted, payload = self._wanted_payload(), _decrypted(row)
        if not (isinstance(wanted, dict) and isinstance(payload, dict)):
            return [] if wanted == payload else ["the payload is another one"]
        found = []
        for name, value in wanted.items():
            if name not in payload:
                found.append(f"payload has no member {name!r}")
            elif payload[name] != value:
                values = (
                    "" if encrypted else f": it is {_short(payload[name])}, not {_short(value)}"
                )
                found.append(f"payload differs in {name!r}{values}")
        return found

    def _wanted_payload(self) -> Any:
        if isinstance(self.payload, dict):
            return to_json(self.payload)
        return self.job.dump_payload(self.payload)

    def _wanted(self) -> str:
        wanted = []
        if self.payload is not None:
            shown = "an encrypted payload" if self.job.encrypted else _short(self._wanted_payload())
            wanted.append(f"payload {shown}")
        wanted += [
            f"{name} {value}"
            for name in ("at", "delay", "idempotency_key", "user_id", "organization_id")
            if (value := getattr(self, name)) is not None
        ]
        return f" with {', '.join(wanted)}" if wanted else ""


def _decrypted(row: Row) -> Any:
    payload = row["payload"]
    if not encryption.is_encrypted(payload):
        return payload
    return encryption.decrypt(payload, Place(row["job_id"], row["job_type"], "payload"))


def _shown_payload(row: Row) -> str:
    return "(encrypted)" if encryption.is_encrypted(row["payload"]) else _short(row["payload"])


def _details(row: Row) -> str:
    names = ("idempotency_key", "user_id", "organization_id")
    said = [f"{name} {row[name]}" for name in names if row[name] is not None]
    said.append(f"due at {row['available_at'].isoformat()}")
    return ", " + ", ".join(said)


def _short(document: Any) -> str:
    text = json.dumps(document, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
