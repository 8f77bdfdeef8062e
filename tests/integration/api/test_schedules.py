"""`/api/admin/schedules`: what an operator's script can do to schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from functions.create_notification.handler import create_notification
from infra.local.qstash import QStashOptions, QStashServer
from stashjobs.producer import schedules
from stashjobs.producer.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table

PATH = "/api/admin/schedules"
NEWS = {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"}


@pytest.fixture
def nightly(monkeypatch: pytest.MonkeyPatch) -> Schedule:
    """The only schedule that is declared."""
    schedule = Schedule("nightly", create_notification, "0 3 * * *", "Europe/Rome", NEWS)
    monkeypatch.setattr(schedules, "_declared", {"nightly": schedule})
    return schedule


@pytest.fixture
def operator(caller: Callable[..., TestClient]) -> TestClient:
    return caller("read", "operate", name="ada")


def state(operator: TestClient) -> str:
    [one] = operator.get(PATH).json()["schedules"]
    shown: str = one["state"]
    return shown


def actions(table: Table) -> list[tuple[Any, ...]]:
    rows = table.run("SELECT actor, action, schedule, job_id FROM schedule_actions ORDER BY at")
    return [tuple(row.values()) for row in rows]


async def test_schedules_are_listed_as_the_code_and_qstash_have_them(
    operator: TestClient, qstash: QStashServer, nightly: Schedule, aside: Callable[..., Any]
) -> None:
    assert await aside(state, operator) == "not synced"
    await aside(schedules.sync, [nightly])
    [one] = (await aside(operator.get, PATH)).json()["schedules"]
    assert one.pop("nextRun").endswith("Z")
    assert one == {
        "name": "nightly",
        "type": "create-notification",
        "cron": "0 3 * * *",
        "timezone": "Europe/Rome",
        "state": "active",
        "lastRun": None,
    }


async def test_one_that_only_qstash_has_is_listed_and_paused_but_not_run(
    operator: TestClient,
    qstash: QStashServer,
    nightly: Schedule,
    aside: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await aside(schedules.sync, [nightly])
    monkeypatch.setattr(schedules, "_declared", {})
    assert await aside(state, operator) == "not declared"
    assert (await aside(operator.post, f"{PATH}/nightly/run")).status_code == 409
    assert (await aside(operator.post, f"{PATH}/nightly/pause")).status_code == 200


async def test_a_schedule_is_paused_and_resumed_and_it_is_written_down_who_did(
    operator: TestClient,
    qstash: QStashServer,
    nightly: Schedule,
    aside: Callable[..., Any],
    table: Table,
) -> None:
    await aside(schedules.sync, [nightly])
    paused = await aside(operator.post, f"{PATH}/nightly/pause")
    assert paused.json() == {"name": "nightly", "state": "paused"}
    assert await aside(state, operator) == "paused"
    resumed = await aside(operator.post, f"{PATH}/nightly/resume")
    assert resumed.json() == {"name": "nightly", "state": "active"}
    assert await aside(state, operator) == "active"
    assert actions(table) == [
        ("ada", "pause", "nightly", None),
        ("ada", "resume", "nightly", None),
    ]


async def test_a_run_now_is_a_job_and_the_record_names_it(
    operator: TestClient,
    qstash: QStashServer,
    nightly: Schedule,
    aside: Callable[..., Any],
    table: Table,
) -> None:
    answer = await aside(operator.post, f"{PATH}/nightly/run")
    job_id = answer.json()["jobId"]
    assert (answer.status_code, answer.json()["published"]) == (202, True)
    row = table.row(job_id)
    assert (row["job_type"], row["payload"]["title"]) == ("create-notification", "Hello")
    assert row["metadata"] == {"schedule": "nightly"}
    assert actions(table) == [("ada", "run", "nightly", job_id)]


async def test_what_nobody_knows_is_404_and_what_qstash_lacks_is_409(
    operator: TestClient,
    qstash: QStashServer,
    nightly: Schedule,
    aside: Callable[..., Any],
    table: Table,
) -> None:
    for action in ("pause", "resume", "run"):
        assert (await aside(operator.post, f"{PATH}/other/{action}")).status_code == 404
    refused = await aside(operator.post, f"{PATH}/nightly/pause")
    assert (refused.status_code, "schedules sync" in refused.text) == (409, True)
    assert actions(table) == []


def test_while_qstash_is_away_the_answer_is_503_and_nothing_is_written_down(
    operator: TestClient, nightly: Schedule, table: Table
) -> None:
    for answer in (operator.get(PATH), operator.post(f"{PATH}/nightly/pause")):
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("QStash did not do it")
        assert int(answer.headers["retry-after"]) > 0
    assert actions(table) == []


def test_a_run_now_needs_no_qstash_since_the_row_is_there(
    operator: TestClient, nightly: Schedule, table: Table
) -> None:
    answer = operator.post(f"{PATH}/nightly/run")
    assert (answer.status_code, answer.json()["published"]) == (202, False)
    assert table.status(answer.json()["jobId"]) == "pending"


async def test_a_pause_that_qstash_refuses_is_not_written_down(
    operator: TestClient,
    nightly: Schedule,
    settings: pytest.MonkeyPatch,
    aside: Callable[..., Any],
    table: Table,
) -> None:
    async with QStashServer(QStashOptions()) as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        await aside(schedules.sync, [nightly])
        settings.setenv("QSTASH_TOKEN", "another-token")
        assert (await aside(operator.post, f"{PATH}/nightly/pause")).status_code == 503
    assert actions(table) == []
