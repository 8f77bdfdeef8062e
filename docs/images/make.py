"""Makes dashboard.png: the whole local system with a made-up day in it, seen by a real Chromium.

    python docs/images/make.py

The day is drawn by a random generator with a fixed seed, and moved to end now.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from infra.local.stack import Stack, in_thread
from stashjobs.ids import new_job_id

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_name("dashboard.png")
WIDTH, HEIGHT = 1440, 1010
JOBS = 9_000


@dataclass(frozen=True)
class Kind:
    """A job type as the made-up day has it: how many of all jobs, how long they take (median, in
    seconds), which share fails and with what."""

    type: str
    share: float
    seconds: float
    failing: float
    errors: tuple[str, ...]
    payload: dict[str, Any]


KINDS = (
    Kind(
        "send-email",
        0.46,
        0.32,
        0.008,
        (
            "ResendError: 429 rate_limit_exceeded: You can only make 2 requests per second.",
            "ResendError: 422 validation_error: Invalid `to` field.",
        ),
        {"to": "ada@example.com", "template": "welcome", "data": {"name": "Ada Lovelace"}},
    ),
    Kind(
        "create-notification",
        0.27,
        0.045,
        0.001,
        ("InvalidPayload: message: String should have at most 2000 characters",),
        {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"},
    ),
    Kind(
        "process-webhook",
        0.15,
        0.21,
        0.03,
        ("ConnectTimeout: crm.example.com did not answer within 10 s",),
        {"source": "github", "event": "push"},
    ),
    Kind(
        "process-stripe-webhook",
        0.09,
        0.55,
        0.006,
        ("APIConnectionError: Unexpected error communicating with Stripe.",),
        {"eventId": "evt_1QhZk2", "type": "invoice.paid"},
    ),
    Kind(
        "export-data",
        0.02,
        38.0,
        0.03,
        ("DeadlineReached: 299 s were not enough for 1,204,551 rows",),
        {"what": "orders", "format": "xlsx"},
    ),
    Kind(
        "generate-report",
        0.01,
        9.5,
        0.04,
        ("ValueError: the period 2026-11 has no invoices",),
        {"kind": "billing", "format": "pdf", "period": "2026-10"},
    ),
)
COLUMNS = (
    "job_id", "job_type", "status", "payload", "result", "error", "errors", "attempt",
    "max_attempts", "progress", "user_id", "organization_id", "created_at", "available_at",
    "published_at", "started_at", "lease_expires_at", "completed_at",
)  # fmt: skip


def fill(connection: psycopg.Connection[Any], now: datetime, jobs: int = JOBS) -> None:
    """Write the day into `job_executions`."""
    chance = random.Random(9)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY job_executions ({', '.join(COLUMNS)}) FROM STDIN") as copy,
    ):
        for row in (*_ended(chance, now, jobs), *_waiting(chance, now)):
            copy.write_row([row[name] for name in COLUMNS])
    connection.execute("ANALYZE job_executions")


def _ended(chance: random.Random, now: datetime, jobs: int) -> Iterator[dict[str, Any]]:
    for ago in _moments(chance, now, jobs):
        kind = chance.choices(KINDS, [each.share for each in KINDS])[0]
        row = _row(chance, kind, now - timedelta(hours=ago))
        row["started_at"] = row["created_at"] + timedelta(seconds=chance.uniform(0.08, 0.9))
        seconds = kind.seconds * math.exp(chance.gauss(0, 0.55))
        failing = kind.failing
        if kind.type == "process-webhook" and 5.6 < ago < 7.5:  # somebody else's outage
            failing, seconds = 0.55, 10 + chance.random()
        row["completed_at"] = row["started_at"] + timedelta(seconds=seconds)
        row |= {"status": "completed", "result": Jsonb({"ok": True}), "attempt": 1}
        if chance.random() < failing:
            _fail(chance, row, kind)
        elif chance.random() < 0.004:
            row |= {"status": "cancelled", "error": "cancelled by ada", "result": None}
        if row["completed_at"] < now:
            yield row


def _moments(chance: random.Random, now: datetime, jobs: int) -> Iterator[float]:
    """Hours ago: few at night, many in the afternoon."""
    hours = [index / 12 for index in range(12 * 24)]
    busy = [
        1.15 + math.sin((((now - timedelta(hours=ago)).hour + 16) % 24) / 24 * 2 * math.pi)
        for ago in hours
    ]
    for ago in chance.choices(hours, busy, k=jobs):
        yield ago + chance.uniform(0.01, 0.08)


def _fail(chance: random.Random, row: dict[str, Any], kind: Kind) -> None:
    error = chance.choice(kind.errors)
    name, _, message = error.partition(": ")
    attempts = []
    for number in (1, 2, 3, 4):
        start = row["started_at"] + timedelta(seconds=[0, 12, 61, 340][number - 1])
        end = start + (row["completed_at"] - row["started_at"])
        attempts.append(
            {
                "attempt": number,
                "type": name,
                "message": message,
                "traceback": "Traceback (most recent call last):\n"
                f'  File "/var/task/functions/{kind.type.replace("-", "_")}/handler.py", line 61\n'
                f"{error}",
                "startedAt": start.isoformat(),
                "endedAt": end.isoformat(),
            }
        )
    row |= {"status": "failed", "error": error, "errors": Jsonb(attempts), "result": None}
    row |= {"attempt": 4, "started_at": start, "completed_at": end}


def _waiting(chance: random.Random, now: datetime) -> Iterator[dict[str, Any]]:
    """What runs, waits and waits again just now."""
    for index in range(23):
        kind = KINDS[(0, 1, 0, 2, 3)[index % 5]]
        row = _row(chance, kind, now - timedelta(seconds=1 + index * 1.7))
        if index < 3:
            row = _row(chance, KINDS[4], now - timedelta(seconds=30 + index * 21))
            row |= {"status": "processing", "attempt": 1}
            row |= {"started_at": row["created_at"] + timedelta(seconds=1)}
            row |= {"lease_expires_at": now + timedelta(minutes=10)}
            row |= {"progress": Jsonb({"fraction": 0.2 + index / 4, "note": "204,000 of 410,000"})}
        elif index < 8:
            row |= {"status": "retrying", "attempt": 1, "error": kind.errors[0]}
            row |= {"available_at": now + timedelta(seconds=20 + index)}
        yield row


def _row(chance: random.Random, kind: Kind, created_at: datetime) -> dict[str, Any]:
    organization = chance.choices(["acme", "globex", "initech", "umbrella"], [6, 3, 2, 1])[0]
    return dict.fromkeys(COLUMNS) | {
        "job_id": new_job_id(),
        "job_type": kind.type,
        "status": "pending",
        "payload": Jsonb(kind.payload),
        "errors": Jsonb([]),
        "attempt": 0,
        "max_attempts": 4,
        "user_id": f"u_{chance.randint(100, 999)}",
        "organization_id": organization,
        "created_at": created_at,
        "available_at": created_at,
        "published_at": created_at,
    }


async def make(picture: Path) -> None:
    """Start everything, and take the picture."""
    with tempfile.TemporaryDirectory() as home:
        async with Stack(ROOT, Path(home), durable=False) as stack:
            with psycopg.connect(stack.urls["postgres"], autocommit=True) as connection:
                fill(connection, datetime.now(UTC))
            await in_thread(
                lambda: _photograph(stack.urls["app"], stack.environment["ADMIN_TOKEN"], picture)
            )


def _photograph(url: str, token: str, picture: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install -y --no-install-recommends chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(base_url=url, viewport={"width": WIDTH, "height": HEIGHT})
        page.goto("/admin/sign-in")
        page.get_by_label("Access token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#outcomes-head").wait_for()
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    asyncio.run(make(PICTURE))
