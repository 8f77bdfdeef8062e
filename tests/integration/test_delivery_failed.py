"""QStash's failure callback: a dead-lettered job is failed here too."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from functions.delivery_failed.handler import handler
from stashjobs import RetryLater, encryption, job, job_type
from stashjobs.ids import new_job_id
from stashjobs.testing.qstash import serving
from tests.deliveries import deliver, http_event, lambda_context, probe, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table

PATH = "/api/jobs/delivery-failed"
URL = f"https://jobs.example.test{PATH}"
PROBE = probe()


def callback(message: object, **fields: Any) -> dict[str, Any]:
    """QStash's body (Upstash docs, "Callbacks"); it leaves out what is 0 or empty."""
    return {
        "status": 404,
        "header": {},
        "body": "",
        "retried": 3,
        "maxRetries": 3,
        "dlqId": "1725323658779-0",
        "sourceMessageId": "msg_1",
        "url": "https://jobs.example.test/api/jobs/probe",
        "method": "POST",
        "sourceBody": base64.b64encode(json.dumps(message).encode()).decode(),
        **fields,
    }


def call(body: dict[str, Any] | bytes, *, key: str | None = None) -> tuple[int, dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    event = http_event(raw, {"upstash-signature": sign(raw, URL, key=key)}, path=PATH)
    answer = handler(event, lambda_context())
    return answer["statusCode"], json.loads(answer["body"])


def thin(job_id: str) -> dict[str, str]:
    return {"jobId": job_id, "type": "probe"}


def test_a_waiting_job_becomes_failed_and_keeps_the_dlq_id(table: Table) -> None:
    job_id = table.add(PROBE)
    assert call(callback(thin(job_id))) == (200, {"jobId": job_id, "changed": True})
    row = table.row(job_id)
    assert (row["status"], row["dlq_id"]) == ("failed", "1725323658779-0")
    assert row["error"] == (
        "DeliveryFailed: dead-lettered by QStash after 4 deliveries; its last answer was 404: "
        "no function has its route; deploy the template that has it (here: restart dev)"
    )
    assert row["completed_at"] is not None


def test_a_second_callback_changes_nothing(table: Table) -> None:
    job_id = table.add(PROBE)
    call(callback(thin(job_id)))
    before = table.row(job_id)
    assert call(callback(thin(job_id))) == (200, {"jobId": job_id, "changed": False})
    assert table.row(job_id) == before


def test_the_callback_of_the_caller_is_called_too(
    table: Table, use_qstash: Callable[..., None]
) -> None:
    delivery = {"failureCallback": "https://app.example/failed"}
    job_id = table.add(PROBE, delivery=delivery)
    body = callback(thin(job_id))
    with serving() as server:
        use_qstash(server.url)
        server.status = 503
        assert call(body)[0] == 503
        assert table.status(job_id) == "failed"
        server.status = 200
        assert call(body)[0] == 200
        [told] = server.received[-1].document
        assert told["destination"] == "https://app.example/failed"
        assert json.loads(told["body"]) == body
        assert told["headers"]["Upstash-Deduplication-Id"] == "failed-1725323658779-0"
        # A URL that QStash refuses keeps nothing from being recorded.
        server.status = 400
        other = table.add(PROBE, delivery=delivery)
        assert call(callback(thin(other)))[0] == 200
        assert table.status(other) == "failed"


def test_a_completed_job_stays_completed(table: Table) -> None:
    job_id = table.add(PROBE)
    deliver(PROBE, job_id)
    call(callback(thin(job_id)))
    assert table.status(job_id) == "completed"


def test_a_failed_job_learns_its_dlq_id_and_keeps_its_reason(table: Table) -> None:
    def fail(_payload: Any, _context: Any) -> None:
        raise ValueError("its own reason")

    job = probe(fail, retries=0)
    job_id = table.add(job)
    deliver(job, job_id)
    call(callback(thin(job_id)))
    row = table.row(job_id)
    assert (row["dlq_id"], row["error"]) == ("1725323658779-0", "ValueError: its own reason")


def test_an_older_message_of_a_job_says_nothing_about_a_newer_one(table: Table) -> None:
    job_id = table.add(PROBE)
    table.run("UPDATE job_executions SET message_id = 'msg_2' WHERE job_id = %s", job_id)
    call(callback(thin(job_id), sourceMessageId="msg_1"))
    assert table.status(job_id) == "pending"


def test_a_running_attempt_goes_on_and_its_retry_gets_a_new_message(table: Table) -> None:
    def is_dead_lettered_meanwhile(_payload: Any, _context: Any) -> None:
        call(callback(thin(job_id)))
        raise ValueError("and then it fails")

    job = probe(is_dead_lettered_meanwhile)
    job_id = table.add(job)
    deliver(job, job_id)
    row = table.row(job_id)
    assert (row["status"], row["published_at"]) == ("retrying", None)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
@pytest.mark.parametrize(("hours", "expected"), [(23, "pending"), (25, "failed")])
def test_a_job_that_was_turned_away_is_offered_for_a_day(
    table: Table, status: int, hours: int, expected: str
) -> None:
    """429 and 500 are Lambda's own "not now", while every process of the function is busy."""
    assert status_after(table, status, hours) == expected


@pytest.mark.parametrize("status", [0, 408, 502, 504])
@pytest.mark.parametrize(("minutes", "expected"), [(50, "pending"), (70, "failed")])
def test_a_job_whose_function_crashes_or_says_nothing_is_offered_for_an_hour(
    table: Table, status: int, minutes: int, expected: str
) -> None:
    assert status_after(table, status, minutes / 60) == expected


def status_after(table: Table, answer: int, hours: float) -> str:
    """The status of a job due so long ago, dead-lettered with that last answer."""
    job_id = table.add(PROBE)
    table.run(
        "UPDATE job_executions SET available_at = now() - make_interval(secs => %s)"
        " WHERE job_id = %s",
        hours * 3600,
        job_id,
    )
    call(callback(thin(job_id), status=answer))
    return str(table.status(job_id))


@pytest.mark.parametrize(
    ("error", "answer", "expected"),
    [(OSError("no"), 500, "retrying"), (RetryLater(600), 503, "retrying")],
    ids=["error", "later"],
)
def test_a_job_with_attempts_left_goes_on_however_long_ago_it_was_due(
    table: Table, error: Exception, answer: int, expected: str
) -> None:
    """QStash's plan allows fewer retries than the job asks for, and backs off for hours."""

    def fail(_payload: Any, _context: Any) -> None:
        raise error

    job = probe(fail, retries=20)
    job_id = table.add(job)
    table.run(
        "UPDATE job_executions SET available_at = now() - interval '2 days' WHERE job_id = %s",
        job_id,
    )
    for _ in range(6):
        assert deliver(job, job_id).status == answer
    call(callback(thin(job_id), status=answer, maxRetries=5))
    row = table.row(job_id)
    assert (row["status"], row["published_at"]) == (expected, None)
    wait = (row["available_at"] - row["updated_at"]).total_seconds()
    assert wait == pytest.approx(getattr(error, "seconds", 0), abs=5)


def test_a_job_that_only_ever_fails_to_start_is_given_up_in_the_end(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    """A missing setting uses up no attempt, so it must not renew the patience either."""
    settings.setenv("PAYLOAD_KEYS", encryption.new_entry("k1"))
    job_id = new_job_id()
    encrypted = encryption.encrypt({}, encryption.Place(job_id, PROBE.type, "payload"))
    table.add(PROBE, encrypted, job_id=job_id)
    table.run(
        "UPDATE job_executions SET available_at = now() - interval '2 days' WHERE job_id = %s",
        job_id,
    )
    settings.delenv("PAYLOAD_KEYS")
    assert deliver(PROBE, job_id).status == 503
    call(callback(thin(job_id), status=503))
    assert table.status(job_id) == "failed"


def test_a_job_that_never_reached_its_function_is_recorded_as_failed(table: Table) -> None:
    message = {
        "jobId": "from-node",
        "type": "send-email",
        "payload": {"to": "x"},
        "metadata": {"userId": "u_1"},
    }
    assert call(callback(message))[1]["changed"] is True
    row = table.row("from-node")
    assert (row["status"], row["payload"], row["user_id"]) == ("failed", {"to": "x"}, "u_1")


@pytest.mark.parametrize("job_type", ["no-such-type", "only-encrypted"])
def test_what_its_function_would_refuse_is_not_written_down(table: Table, job_type: str) -> None:
    job("only-encrypted", endpoint="/api/jobs/only-encrypted", encrypted=True)(probe().function)
    message = {"jobId": "from-node", "type": job_type, "payload": {"secret": "plain"}}
    assert call(callback(message)) == (200, {"jobId": "from-node", "changed": False})
    assert table.rows() == []


def test_a_callback_that_qstash_did_not_sign_is_refused_and_read_no_further(table: Table) -> None:
    job_id = table.add(PROBE)
    assert call(callback(thin(job_id)), key="sig_of_somebody_else")[0] == 401
    assert table.status(job_id) == "pending"


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", json.dumps(callback("no job")).encode(), b'{"sourceBody": "%"}'],
)
def test_what_is_no_callback_of_a_job_is_dead_lettered(table: Table, body: bytes) -> None:
    assert call(body)[0] == 489
    assert table.rows() == []


def test_a_callback_that_is_too_deep_to_be_read_is_489(table: Table) -> None:
    assert call(b"[" * 100_000)[0] == 489
    assert table.rows() == []


def test_the_callback_is_to_come_again_while_postgres_is_away(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    job_id = table.add(PROBE)
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert call(callback(thin(job_id)))[0] == 503


def test_a_handler_that_cannot_be_imported_hinders_no_other_type_s_dead_letter(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(job_type._broken, "functions.odd.handler", "no such module")
    job_id = new_job_id()
    message = {"jobId": job_id, "type": "create-notification", "payload": {"odd": True}}
    assert call(callback(message))[0] == 200
    assert table.row(job_id)["status"] == "failed"
    # It may be this one's type: QStash asks again.
    assert call(callback({**message, "jobId": new_job_id(), "type": "odd"}))[0] == 503
    monkeypatch.setattr(job_type, "_broken", {})
    assert call(callback({**message, "jobId": new_job_id(), "type": "odd"}))[0] == 200
