"""Pause, resume and limit of a type: the row is the truth, and QStash's flow control follows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from functions.create_notification.handler import create_notification
from stashjobs import job
from stashjobs.errors import UnknownJobType
from stashjobs.operators import health, job_types
from stashjobs.producer import flow_control, message, qstash_client
from stashjobs.recovery import relay
from stashjobs.store import database
from tests.deliveries import deliver, delivery, handle, probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.local.qstash import QStashServer
    from tests.deliveries import Table

TYPE = "create-notification"
JOB = probe(lambda *_: {"ran": True}, type=TYPE)


@pytest.fixture
def qstash(table: Table, settings: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    del table
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server
        qstash_client.close()


def at_qstash() -> Any:
    return flow_control._find(TYPE)


def test_every_type_has_a_key(settings: pytest.MonkeyPatch) -> None:
    del settings
    assert message.flow_control_of(probe())["parallelism"] == message.NO_LIMIT
    assert "parallelism" not in message.flow_control_of(probe(rate=3))


def test_a_paused_type_begins_no_attempt_and_resume_goes_on(
    table: Table, qstash: QStashServer
) -> None:
    del qstash
    job_id = table.add(JOB)
    assert job_types.pause(TYPE, actor="ada").paused
    assert at_qstash().is_paused
    answer = deliver(JOB, job_id)
    assert (answer.status, answer.document["reason"]) == (503, "the type is paused")
    assert table.row(job_id)["attempt"] == 0
    job_types.resume(TYPE, actor="ada")
    assert not at_qstash().is_paused
    assert deliver(JOB, job_id).status == 200


def test_a_message_with_its_payload_is_recorded_while_its_type_is_paused(
    table: Table, qstash: QStashServer
) -> None:
    del qstash
    job_types.pause(TYPE, actor="ada")
    event = delivery({"jobId": "fired", "type": TYPE, "payload": {}})
    assert handle(JOB, event).status == 503
    assert (table.row("fired")["status"], table.row("fired")["attempt"]) == ("pending", 0)
    job_types.resume(TYPE, actor="ada")
    assert handle(JOB, event).status == 200


def test_a_paused_type_is_not_due_and_not_published(table: Table, qstash: QStashServer) -> None:
    del qstash
    table.add(create_notification, {})
    assert health.read_queue(database.connection()).depth == 1
    job_types.pause(TYPE, actor="ada")
    assert health.read_queue(database.connection()).depth == 0
    assert relay.run(time.time() + 60, quiet_seconds=0).published == 0
    job_types.resume(TYPE, actor="ada")
    assert relay.run(time.time() + 60, quiet_seconds=0).published == 1


def test_a_limit_lasts_until_it_is_lifted(table: Table, qstash: QStashServer) -> None:
    del qstash
    table.add(JOB)
    job_types.limit(TYPE, actor="ada", rate=100, period="1m", parallelism=2)
    found = at_qstash()
    assert (found.rate_max, found.rate_period, found.parallelism_max) == (100, 60, 2)
    job_types.limit(TYPE, actor="ada", parallelism=3)
    found = at_qstash()
    assert (found.is_pinned_rate, found.parallelism_max) == (False, 3)
    job_types.lift_limit(TYPE, actor="ada")
    assert not at_qstash().is_pinned_parallelism


def test_the_relay_brings_qstash_in_step_with_the_row(table: Table, qstash: QStashServer) -> None:
    table.add(JOB)
    url = qstash.environment["QSTASH_URL"]
    settings_of = pytest.MonkeyPatch()
    # Whatever tests before this one compared, only the row is.
    settings_of.setattr(flow_control, "_compared", {TYPE})
    settings_of.setenv("QSTASH_URL", "http://127.0.0.1:9")
    job_types.pause(TYPE, actor="ada")
    assert job_types.read(database.connection())[TYPE].applied_at is None
    settings_of.setenv("QSTASH_URL", url)
    qstash_client.close()
    assert relay.run(time.time() + 60).types_corrected == 1
    assert at_qstash().is_paused
    # And again where somebody resumed it at QStash.
    qstash_client.qstash().flow_control.resume(flow_control._key(TYPE))
    assert relay.run(time.time() + 60).types_corrected == 1
    assert at_qstash().is_paused
    assert relay.run(time.time() + 60).types_corrected == 0
    settings_of.undo()


def test_what_was_done_is_kept_with_what_it_was_before(table: Table, qstash: QStashServer) -> None:
    del qstash
    table.add(JOB)
    job_types.limit(TYPE, actor="ada", rate=5, period="2h")
    job_types.pause(TYPE, actor="bob")
    done = table.run("SELECT actor, action, before FROM type_actions ORDER BY action_id")
    assert [(one["actor"], one["action"]) for one in done] == [("ada", "limit"), ("bob", "pause")]
    assert done[1]["before"] == {
        "paused": False,
        "rate": 5,
        "periodSeconds": 7200,
        "parallelism": None,
    }


def test_a_type_declares_a_rate_in_a_period(settings: pytest.MonkeyPatch) -> None:
    del settings
    limits = message.flow_control_of(probe(rate=(100, "1m"), parallelism=2))
    assert (limits["rate"], limits["period"], limits["parallelism"]) == (100, 60, 2)
    assert message.flow_control_of(probe(rate=(5, "7d")))["period"] == 604_800


@pytest.mark.parametrize(
    "rate", [0, (0, "1m"), (1, "8d"), (1, "0s"), (1, "soon"), ("1", "1m"), (1,), (1, 60), "1m", 1.5]
)
def test_a_rate_that_makes_no_sense_is_refused_where_it_is_declared(rate: Any) -> None:
    with pytest.raises(ValueError, match="rated: rate"):
        job("rated", endpoint="/api/jobs/rated", rate=rate)(lambda *_: None)


def test_a_deploy_with_another_limit_reaches_what_waits_at_qstash(
    table: Table, qstash: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del table, qstash
    before, now = probe(type=TYPE, rate=5), probe(type=TYPE, rate=(100, "1m"), parallelism=2)
    pinned = qstash_client.qstash().flow_control
    pinned.pin(flow_control._key(TYPE), {"rate": 5, "period": 1})
    pinned.unpin(flow_control._key(TYPE), {"rate": True})
    monkeypatch.setattr(flow_control, "_compared", set())
    monkeypatch.setattr(flow_control, "declared", lambda: [before])
    assert flow_control.reconcile() == 0
    monkeypatch.setattr(flow_control, "_compared", set())
    monkeypatch.setattr(flow_control, "declared", lambda: [now])
    assert [flow_control.reconcile(), flow_control.reconcile()] == [1, 0]
    found = at_qstash()
    assert (found.rate_max, found.rate_period, found.parallelism_max) == (100, 60, 2)
    assert (found.is_pinned_rate, found.is_pinned_parallelism) == (False, False)
    # An operator's limit stays.
    job_types.limit(TYPE, actor="ada", rate=1, period="1h", parallelism=1)
    monkeypatch.setattr(flow_control, "_compared", set())
    assert flow_control.reconcile() == 0
    assert at_qstash().rate_max == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "rate or parallelism"),
        ({"rate": 0}, "rate is 0"),
        ({"parallelism": -1}, "parallelism is -1"),
        ({"rate": 1, "period": "8d"}, "period is '8d'"),
        ({"rate": 1, "period": "soon"}, "period is 'soon'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    table: Table, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        job_types.limit(TYPE, actor="ada", **given)
    assert table.run("SELECT * FROM job_type_states") == []


def test_a_type_that_nobody_knows_is_refused(table: Table) -> None:
    with pytest.raises(UnknownJobType, match="no type 'mistyped'"):
        job_types.pause("mistyped", actor="ada")
    assert table.run("SELECT * FROM type_actions") == []
