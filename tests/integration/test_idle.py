"""While nothing is open, Postgres is not asked; whatever reaches QStash arms relay and monitor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import functions.monitor.handler as monitor
import functions.relay.handler as relay
from stashjobs.producer import qstash_client
from stashjobs.recovery import idle
from stashjobs.recovery.idle import Idle
from stashjobs.store import database, outbox
from tests.deliveries import lambda_context, probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.qstash import QStashServer
    from tests.deliveries import Table

NOTHING = {"StuckJobs", "QueueDepth", "OldestPendingSeconds", "ProcessedLastHour"}


@pytest.fixture
def qstash(settings: pytest.MonkeyPatch, table: Table) -> Iterator[QStashServer]:
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        settings.setenv("IDLE_MINUTES", "60")
        settings.setattr(relay, "_idle", Idle())
        settings.setattr(monitor, "_idle", Idle())
        # What was logged a moment ago was looked for already.
        settings.setattr(idle, "CLOCK_GRACE_SECONDS", 0.0)
        yield server


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each connection that is opened, or taken up again."""
    found: list[str] = []
    for name in ("connect", "connection"):
        real: Callable[..., Any] = getattr(database, name)

        def counting(*arguments: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            found.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(database, name, counting)
    return found


def run(module: Any) -> Any:
    return module.handler({}, lambda_context())


@pytest.mark.parametrize("module", [relay, monitor], ids=["relay", "monitor"])
def test_an_idle_stage_is_left_alone(qstash: QStashServer, asked: list[str], module: Any) -> None:
    run(module)
    assert asked
    asked.clear()
    told = run(module)
    assert asked == []
    if module is monitor:
        assert {name: told[name] for name in NOTHING} == dict.fromkeys(NOTHING, 0.0)


@pytest.mark.parametrize("module", [relay, monitor], ids=["relay", "monitor"])
def test_without_the_setting_each_minute_looks(
    qstash: QStashServer, asked: list[str], settings: pytest.MonkeyPatch, module: Any
) -> None:
    settings.delenv("IDLE_MINUTES")
    for _ in range(2):
        asked.clear()
        run(module)
        assert asked


@pytest.mark.parametrize("module", [relay, monitor], ids=["relay", "monitor"])
def test_a_publish_arms_it(qstash: QStashServer, asked: list[str], module: Any) -> None:
    run(module)
    time.sleep(0.01)  # the log knows milliseconds
    qstash_client.qstash().message.publish(url="http://127.0.0.1:9/", body="{}", delay="1h")
    asked.clear()
    run(module)
    assert asked


def test_what_is_left_to_the_relay_is_published_by_the_net(
    qstash: QStashServer, asked: list[str], table: Table, settings: pytest.MonkeyPatch
) -> None:
    run(relay)
    table.add(probe())
    table.run("UPDATE job_executions SET created_at = now() - interval '1 minute'")
    asked.clear()
    run(relay)
    assert asked == []
    later = time.time() + 60 * 60
    settings.setattr(time, "time", lambda: later)
    assert not relay._idle.is_certain()


@pytest.mark.parametrize(
    ("change", "is_open"),
    [
        ("status = 'cancelled', completed_at = now()", False),
        ("published_at = now()", False),
        ("published_at = NULL", True),
        ("published_at = NULL, available_at = now() + interval '30 days'", False),
        ("status = 'processing', attempt = 1, lease_expires_at = now() + interval '1 min'", True),
    ],
)
def test_what_counts_as_open(table: Table, change: str, is_open: bool) -> None:
    table.add(probe())
    table.run(f"UPDATE job_executions SET {change}")
    assert outbox.is_anything_open(database.connection(), horizon_seconds=3600) is is_open


def test_an_open_job_keeps_the_relay_looking(
    qstash: QStashServer, asked: list[str], table: Table
) -> None:
    table.add(probe())  # younger than what the relay takes
    run(relay)
    asked.clear()
    run(relay)
    assert asked


def test_while_qstash_cannot_be_asked_it_looks(
    qstash: QStashServer, asked: list[str], settings: pytest.MonkeyPatch
) -> None:
    run(relay)
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    asked.clear()
    run(relay)
    assert asked
