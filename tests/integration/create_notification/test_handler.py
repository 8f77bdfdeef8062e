"""One row per user, in one statement, if and only if the job completes."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.create_notification import notifications
from functions.create_notification.handler import create_notification
from functions.create_notification.models import MAX_USERS
from tests.deliveries import Table, deliver
from tests.integration.test_round_trips import counted_round_trips

RELEASE = {"type": "release", "title": "Exports are here", "message": "Download your data."}


def notify(table: Table, **changes: Any) -> str:
    fields = {name: changes.pop(name) for name in ("organization_id",) if name in changes}
    return table.add(create_notification, RELEASE | changes, **fields)


def test_what_one_user_gets(table: Table) -> None:
    job_id = notify(
        table,
        userId="u_1",
        link="/settings/export",
        priority="high",
        expiresAt="2030-01-01T00:00:00+02:00",
        organization_id="o_1",
    )
    answer = deliver(create_notification, job_id)
    assert answer.status == 200
    assert table.row(job_id)["result"] == {"recipients": 1, "created": 1}
    [row] = table.run("SELECT * FROM notifications")
    assert row.pop("created_at")
    assert row == {
        "notification_id": 1,
        "job_id": job_id,
        "user_id": "u_1",
        "organization_id": "o_1",
        "type": "release",
        "title": "Exports are here",
        "message": "Download your data.",
        "link": "/settings/export",
        "priority": "high",
        "expires_at": datetime(2029, 12, 31, 22, tzinfo=UTC),
        "read_at": None,
    }


def test_ten_thousand_users_in_one_go(table: Table) -> None:
    users = [f"u_{number}" for number in range(MAX_USERS)]
    job_id = notify(table, userIds=[*users[1:], "u_1"], userId="u_0")
    began = time.monotonic()
    assert deliver(create_notification, job_id).status == 200
    assert time.monotonic() - began < 60
    [row] = table.run("SELECT count(*), count(DISTINCT user_id) AS users FROM notifications")
    assert (row["count"], row["users"]) == (MAX_USERS, MAX_USERS)


def test_a_job_that_is_run_again_tells_nobody_twice(table: Table) -> None:
    job_id = notify(table, userIds=["u_1", "u_2"])
    deliver(create_notification, job_id)
    table.run("DELETE FROM notifications WHERE user_id = 'u_2'")
    table.run(
        "UPDATE job_executions SET status = 'pending', completed_at = NULL WHERE job_id = %s",
        job_id,
    )
    deliver(create_notification, job_id)
    assert table.row(job_id)["result"] == {"recipients": 2, "created": 1}
    assert [row["user_id"] for row in table.run("SELECT user_id FROM notifications")] == [
        "u_1",
        "u_2",
    ]


def test_a_job_that_does_not_complete_tells_nobody(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = notifications.create

    def create_and_fail(*arguments: Any, **options: Any) -> int:
        original(*arguments, **options)
        raise RuntimeError("after the statement")

    monkeypatch.setattr(notifications, "create", create_and_fail)
    job_id = notify(table, userId="u_1")
    assert deliver(create_notification, job_id).status == 500
    assert table.run("SELECT * FROM notifications") == []


def test_a_link_that_runs_a_script_never_gets_into_the_table(table: Table) -> None:
    job_id = notify(table, userId="u_1", link="javascript:alert(1)")
    assert deliver(create_notification, job_id).stops_qstash
    assert table.status(job_id) == "failed"
    assert table.run("SELECT * FROM notifications") == []


def test_a_job_is_two_round_trips_and_its_own(table: Table) -> None:
    job_id = notify(table, userId="u_1")
    with counted_round_trips() as trips:
        deliver(create_notification, job_id)
    assert len(trips) <= 5  # claim, BEGIN, INSERT, record, COMMIT
