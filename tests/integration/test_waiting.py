"""What an operator does to a job that waits: run it now, reschedule, edit or delete it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from stashjobs import Context, NoSuchJob, NotPossible, RetryLater, Snooze, job
from stashjobs.errors import InvalidPayload
from stashjobs.operators import search, story, waiting
from stashjobs.operators.search import Filter
from stashjobs.producer import qstash_client
from stashjobs.recovery import relay
from stashjobs.store import database
from tests.deliveries import deliver, delivery, handle
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.local.qstash import QStashServer
    from tests.deliveries import Table


class Note(BaseModel):
    number: int = 1
    does: str = ""


@job("waited-for", endpoint="/api/jobs/waited-for", retries=2)
def waited_for(payload: Note, _context: Context) -> int:
    if payload.does == "snooze":
        raise Snooze("not yet", seconds=86_400 * 30)
    if payload.does == "retry":
        raise RetryLater(3600)
    return payload.number


NEXT_YEAR = datetime.now(UTC) + timedelta(days=365)


@pytest.fixture
def qstash(table: Table, settings: pytest.MonkeyPatch) -> Iterator[QStashServer]:
    del table
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server
        qstash_client.close()


def events(job_id: str) -> list[str]:
    found = search.find(database.connection(), job_id)
    assert found is not None
    told = story.tell(found, story.read_actions(database.connection(), job_id))
    return [each.note for each in told]


def test_a_delayed_job_is_run_now_by_a_new_message(table: Table, qstash: QStashServer) -> None:
    del qstash
    job_id = waited_for.enqueue(Note(), delay=3600).job_id
    before = table.row(job_id)
    waiting.run_now(job_id, actor="ada")
    row = table.row(job_id)
    assert row["available_at"] <= datetime.now(UTC)
    assert row["message_id"] != before["message_id"]
    assert row["published_at"] is not None
    assert not relay._qstash_has(before["message_id"])
    assert any(note.startswith("run now by ada due before at ") for note in events(job_id))
    # Both messages may come all the same, and it runs once.
    message = {"jobId": job_id, "type": "waited-for"}
    ran = [
        handle(waited_for, delivery(message, message_id=each)).document.get("ran", True)
        for each in (row["message_id"], before["message_id"])
    ]
    assert ran == [True, False]


@pytest.mark.parametrize("does", ["snooze", "retry"])
def test_a_snoozed_and_a_retrying_job_are_run_now(
    table: Table, qstash: QStashServer, does: str
) -> None:
    del qstash
    job_id = waited_for.enqueue(Note(does=does)).job_id
    deliver(waited_for, job_id)
    row = table.row(job_id)
    assert (row["status"], row["available_at"] > datetime.now(UTC)) == ("retrying", True)
    waiting.edit(job_id, actor="ada", payload={"number": 7})
    waiting.run_now(job_id, actor="ada")
    assert table.row(job_id)["published_at"] is not None
    assert deliver(waited_for, job_id).status == 200
    assert table.row(job_id)["result"] == 7


def test_all_that_fit_are_run_now(table: Table, qstash: QStashServer) -> None:
    del qstash
    ids = [waited_for.enqueue(Note(), delay=3600, user_id="u_1").job_id for _ in range(3)]
    other = waited_for.enqueue(Note(), delay=3600, user_id="u_2").job_id
    assert waiting.run_all_now(Filter(user_id="u_1"), actor="ada").count == 3
    assert all(table.row(each)["available_at"] <= datetime.now(UTC) for each in ids)
    assert table.row(other)["available_at"] > datetime.now(UTC)


def test_a_job_is_rescheduled_earlier_later_and_while_it_waits_for_others(
    table: Table, qstash: QStashServer
) -> None:
    del qstash
    job_id = waited_for.enqueue(Note(), delay=3600).job_id
    child = waited_for.enqueue(Note(), after=[job_id]).job_id
    old = table.row(job_id)["message_id"]
    assert waiting.reschedule(job_id, actor="ada", delay=60) < datetime.now(UTC) + timedelta(
        hours=1
    )
    assert not relay._qstash_has(old)
    assert relay._qstash_has(table.row(job_id)["message_id"])
    # Beyond what QStash holds: the relay publishes it in time.
    assert waiting.reschedule(job_id, actor="ada", at=NEXT_YEAR) == NEXT_YEAR
    row = table.row(job_id)
    assert (row["available_at"], row["published_at"], row["moved"]) == (NEXT_YEAR, None, 2)
    waiting.reschedule(child, actor="ada", at=NEXT_YEAR)
    assert (table.status(child), table.row(child)["available_at"]) == ("waiting", NEXT_YEAR)
    assert any(note.startswith("rescheduled by ada due before at ") for note in events(job_id))


def test_a_payload_is_edited_before_it_runs(table: Table, qstash: QStashServer) -> None:
    del qstash
    job_id = waited_for.enqueue(Note(number=1)).job_id
    message = table.row(job_id)["message_id"]
    waiting.edit(job_id, actor="ada", payload={"number": 2})
    assert table.row(job_id)["message_id"] == message
    assert deliver(waited_for, job_id).status == 200
    assert table.row(job_id)["result"] == 2
    [action] = story.read_actions(database.connection(), job_id)
    assert (action.action, action.payload_before) == ("edit", {"number": 1, "does": ""})
    assert any(note.startswith("edited by ada with another payload") for note in events(job_id))


def test_an_edited_payload_of_an_encrypted_job_is_encrypted(
    table: Table, qstash: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    del qstash
    settings.setenv("PAYLOAD_KEYS", "k1:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    job_id = waited_for.enqueue(Note(number=1), encrypted=True).job_id
    waiting.edit(job_id, actor="ada", payload={"number": 4321})
    assert "4321" not in str(table.row(job_id)["payload"])
    assert deliver(waited_for, job_id).status == 200
    [action] = story.read_actions(database.connection(), job_id)
    assert action.payload_before is None


def test_a_deleted_job_was_never_there_and_is_in_the_audit(
    table: Table, qstash: QStashServer
) -> None:
    del qstash
    job_id = waited_for.enqueue(Note(), idempotency_key="k", delay=60).job_id
    child = waited_for.enqueue(Note(), after=[job_id]).job_id
    message = table.row(job_id)["message_id"]
    waiting.delete(job_id, actor="ada")
    assert [row["job_id"] for row in table.rows()] == [child]
    assert table.status(child) == "cancelled"
    assert not relay._qstash_has(message)
    [done] = table.run("SELECT * FROM job_actions WHERE action = 'delete'")
    assert (done["actor"], done["job_id"], done["before"]["jobType"]) == (
        "ada",
        job_id,
        "waited-for",
    )
    assert deliver(waited_for, job_id).status == 489
    assert waited_for.enqueue(Note(), idempotency_key="k").created
    assert waiting.delete_all(Filter(job_type="waited-for"), actor="ada").count == 1


def test_what_makes_no_sense_is_refused_and_changes_nothing(
    table: Table, qstash: QStashServer
) -> None:
    del qstash
    done = waited_for.enqueue(Note()).job_id
    deliver(waited_for, done)
    pending = waited_for.enqueue(Note(), delay=60, expires=600).job_id
    child = waited_for.enqueue(Note(), after=[pending]).job_id
    rows = table.rows()
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: waiting.run_now(done, actor="a"), NotPossible, "completed and cannot be run now"),
        (lambda: waiting.run_now(child, actor="a"), NotPossible, "waiting and cannot be run now"),
        (lambda: waiting.run_now("none", actor="a"), NoSuchJob, "there is no job none"),
        (lambda: waiting.delete(done, actor="a"), NotPossible, "cannot be deleted"),
        (lambda: waiting.edit(done, actor="a", payload={}), NotPossible, "cannot be edited"),
        (lambda: waiting.edit(pending, actor="a", payload={"number": "x"}), InvalidPayload, "numb"),
        (lambda: waiting.reschedule(done, actor="a", delay=1), NotPossible, "be rescheduled"),
        (lambda: waiting.reschedule(pending, actor="a", delay=601), NotPossible, "expires at"),
        (lambda: waiting.reschedule(pending, actor="a"), ValueError, "give delay or at"),
        (lambda: waiting.reschedule(pending, actor="a", delay=-1), ValueError, "delay is -1"),
    ]
    for act, kind, words in refused:
        with pytest.raises(kind, match=words):
            act()
    assert table.rows() == rows
    assert table.run("SELECT * FROM job_actions") == []
