"""Pause, resume and limit of a type, by the API, the dashboard and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from stashjobs.tools.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table
    from tests.integration.api.dashboards import Browser

PATH = "/api/admin/types"


def test_a_type_is_paused_limited_and_resumed(
    caller: Callable[..., TestClient], table: Table
) -> None:
    operator = caller("read", "operate", name="ada")
    paused = operator.post(f"{PATH}/send-email/pause").json()
    assert (paused["type"], paused["paused"], paused["changedBy"]) == ("send-email", True, "ada")
    # No QStash answers here; the relay tells it.
    assert paused["appliedAt"] is None
    limited = operator.post(f"{PATH}/send-email/limit", json={"rate": 10, "period": "1m"}).json()
    assert (limited["rate"], limited["periodSeconds"], limited["paused"]) == (10, 60, True)
    [one] = operator.get(PATH).json()["types"]
    assert one == limited
    assert operator.post(f"{PATH}/send-email/resume").json()["paused"] is False
    assert operator.post(f"{PATH}/send-email/limit", json={}).json()["rate"] is None
    done = table.run("SELECT action FROM type_actions ORDER BY action_id")
    assert [each["action"] for each in done] == ["pause", "limit", "resume", "lift limit"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": "10"}, "rate"),
        ({"rate": 1, "period": "8d"}, "period"),
        ({"parallelism": 10**9}, "parallelism"),
    ],
)
def test_a_limit_that_makes_no_sense_is_422_and_names_the_field(
    caller: Callable[..., TestClient], table: Table, body: dict[str, object], field: str
) -> None:
    answer = caller("operate").post(f"{PATH}/send-email/limit", json=body)
    assert answer.status_code == 422
    assert field in answer.text
    assert table.run("SELECT * FROM job_type_states") == []


def test_who_may_not_operate_pauses_nothing(caller: Callable[..., TestClient]) -> None:
    assert caller("read").post(f"{PATH}/send-email/pause").status_code == 403
    assert caller("operate").post(f"{PATH}/mistyped/pause").status_code == 404


def test_the_page_of_a_type_has_the_buttons(browser: Browser, token: Callable[..., str]) -> None:
    browser.sign_in(token("read", "operate", name="ada"))
    browser.get("/admin/types/send-email")
    page = browser.post("/admin/types", {"type": "send-email", "action": "pause"})
    assert "Paused: no new attempt begins." in page.words
    limits = {"type": "send-email", "action": "limit", "rate": "10", "period": "1m"}
    page = browser.post("/admin/types", limits)
    assert "Limited to 10 in 1 min" in page.words
    assert browser.post("/admin/types", {**limits, "rate": "many"}).status == 422
    assert "Lift the limit" in page.words
    assert "type send-email" in browser.get("/admin/audit").words


def test_the_command_line_pauses_limits_and_resumes(
    anonymous: TestClient, table: Table, repository: object
) -> None:
    del anonymous, repository
    run = CliRunner().invoke
    assert "send-email is paused" in run(main, ["pause", "send-email", "--by", "ada"]).output
    limit = ["limit", "send-email", "--rate", "10", "--per", "1m", "--json"]
    assert json.loads(run(main, limit).stdout)["periodSeconds"] == 60
    assert run(main, ["limit", "send-email", "--rate", "1", "--per", "8d"]).exit_code == 2
    assert run(main, ["limit", "send-email"]).exit_code == 2
    assert run(main, ["pause", "mistyped"]).exit_code == 2
    assert run(main, ["limit", "send-email", "--lift", "--rate", "1"]).exit_code == 2
    assert "not paused" in run(main, ["resume", "send-email"]).output
    assert len(table.run("SELECT * FROM type_actions")) == 3
