"""Jobs with encrypted payloads: what they do, what stays hidden, and how keys are rotated."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.types.json import Jsonb
from pydantic import BaseModel, field_validator

import stashjobs
from stashjobs import (
    Cancelled,
    Context,
    EncryptionError,
    InvalidPayload,
    PayloadTooLarge,
    PermanentError,
    RetryLater,
    SettingError,
    encryption,
)
from stashjobs.encryption import Place, decrypt, encrypt, is_encrypted
from stashjobs.operators import key_rotation, retry_and_cancel
from stashjobs.recovery import dead_letters
from stashjobs.store.outbox import DeadLetter
from stashjobs.testing.qstash import Server, serving
from stashjobs.tools.cli import main
from tests.deliveries import Table, deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Log

MARKER = "tangerine-7391"
KEYS = {name: base64.b64encode(name.encode() * 16).decode() for name in ("k1", "k2", "k3")}


def setting(*names: str) -> str:
    return ",".join(f"{name}:{KEYS[name]}" for name in names)


class Secret(BaseModel):
    word: str
    do: str = ""

    @field_validator("word")
    @classmethod
    def _echo(cls, word: str) -> str:
        if word.startswith("bad"):
            raise ValueError(f"{word} is not a good word")
        return word


def raised(secret: Secret) -> Exception | None:
    return {
        "later": RetryLater(7, secret.word),
        "cancel": Cancelled(secret.word),
        "refuse": PermanentError(secret.word),
        "mimic": EncryptionError(secret.word),
    }.get(secret.do)


@stashjobs.job("encrypted", endpoint="/api/jobs/encrypted", retries=2, encrypted=True)
def encrypted_job(secret: Secret, context: Context) -> Any:
    """Does what its payload says, and echoes the secret in every way there is."""
    if (error := raised(secret)) is not None:
        raise error
    if secret.do == "progress":
        context.progress(0.5, f"at {secret.word}", word=secret.word)
    if secret.do == "odd":
        return {secret.word: 1}.keys()
    if secret.do == "write":
        context.connection.execute("SELECT %s::int", [secret.word])
    if secret.do == "deferred":
        context.connection.execute(
            "CREATE TEMPORARY TABLE once (word text UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        )
        context.connection.execute("INSERT INTO once VALUES (%s), (%s)", [secret.word] * 2)
    if secret.do == "fail":
        try:
            raise KeyError(secret.word)
        except KeyError as error:
            raise ValueError(f"no {secret.word}") from error
    return {"said": secret.word}


@stashjobs.job("plain-or-encrypted", endpoint="/api/jobs/plain-or-encrypted", retries=1)
def either_job(payload: dict[str, Any], _context: Context) -> dict[str, Any]:
    if payload.get("fail"):
        raise ValueError(payload["fail"])
    return payload


@pytest.fixture(autouse=True)
def _keys(settings: pytest.MonkeyPatch, table: Table, tmp_path: Path) -> None:
    settings.chdir(tmp_path)  # no `stashjobs dev` of the developer's, and no .env
    settings.setenv("PAYLOAD_KEYS", setting("k1"))
    table.run("DELETE FROM job_actions")


@pytest.fixture
def qstash(use_qstash: Callable[[str, str], None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url, "token")
        yield server


def run(*arguments: str) -> Result:
    """Run `stashjobs`, keeping the environment as it was."""
    before = dict(os.environ)
    try:
        return CliRunner().invoke(main, list(arguments))
    finally:
        os.environ.clear()
        os.environ.update(before)


def dump(table: Table) -> str:
    """All that Postgres has of every job, as text."""
    rows = table.run("SELECT to_jsonb(job_executions)::text AS text FROM job_executions")
    actions = table.run("SELECT to_jsonb(job_actions)::text AS text FROM job_actions")
    return "\n".join(row["text"] for row in rows + actions)


def decrypted(table: Table, job_id: str, purpose: Any) -> Any:
    row = table.row(job_id)
    return decrypt(row[purpose], Place(job_id, row["job_type"], purpose))


# ------------------------------------------------------------------ enqueue and run


def test_an_encrypted_job_runs_with_its_plain_payload(table: Table, qstash: Server) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    assert is_encrypted(table.row(job_id)["payload"])

    assert deliver(encrypted_job, job_id).status == 200

    assert is_encrypted(table.row(job_id)["result"])
    assert decrypted(table, job_id, "result") == {"said": MARKER}


def test_one_job_of_a_plain_type_can_be_encrypted(table: Table, qstash: Server) -> None:
    job_id = either_job.enqueue({"word": MARKER}, encrypted=True).job_id
    assert deliver(either_job, job_id).status == 200
    assert MARKER not in dump(table)
    assert decrypted(table, job_id, "result") == {"word": MARKER}


def test_many_are_encrypted_each_for_itself(table: Table, qstash: Server) -> None:
    first, second = encrypted_job.enqueue_many([Secret(word=MARKER), Secret(word="b")])
    assert decrypted(table, first.job_id, "payload")["word"] == MARKER
    assert decrypted(table, second.job_id, "payload")["word"] == "b"


async def test_an_async_enqueue_encrypts_too(table: Table, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        enqueued = await encrypted_job.enqueue_async(Secret(word=MARKER), connection=connection)
    assert decrypted(table, enqueued.job_id, "payload")["word"] == MARKER


def test_a_plain_job_stays_plain(table: Table, qstash: Server) -> None:
    job_id = either_job.enqueue({"word": "open"}, encrypted=False).job_id
    deliver(either_job, job_id)
    assert table.row(job_id)["result"] == {"word": "open"}


def test_what_a_type_declares_cannot_be_undone_for_one_job(table: Table, qstash: Server) -> None:
    with pytest.raises(ValueError, match="declared encrypted; encrypted=False cannot undo that"):
        encrypted_job.enqueue(Secret(word=MARKER), encrypted=False)
    assert table.rows() == []


def test_a_plain_payload_that_looks_encrypted_is_refused(table: Table, qstash: Server) -> None:
    with pytest.raises(InvalidPayload, match="reserved"):
        either_job.enqueue({"$sealed": MARKER})
    assert table.rows() == []


def test_a_plain_result_that_looks_encrypted_fails_the_job(table: Table) -> None:
    job = probe(lambda _payload, _context: {"$sealed": "x"})
    job_id = table.add(job)
    assert deliver(job, job_id).stops_qstash
    assert "reserved member $sealed" in table.row(job_id)["error"]


def test_the_size_limit_is_that_of_the_plaintext(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("MAX_PAYLOAD_BYTES", "42")
    encrypted_job.enqueue(Secret(word="x" * 20))
    with pytest.raises(PayloadTooLarge, match="the payload is 43 bytes, the limit is 42"):
        encrypted_job.enqueue(Secret(word="x" * 21))


@pytest.mark.parametrize("keys", [None, f"k1:{KEYS['k1'][:-8]}"])
def test_without_good_keys_nothing_is_enqueued(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch, keys: str | None
) -> None:
    settings.setenv("PAYLOAD_KEYS", keys or "")
    with pytest.raises(SettingError, match="PAYLOAD_KEYS") as caught:
        encrypted_job.enqueue(Secret(word=MARKER))
    assert KEYS["k1"][:8] not in str(caught.value)
    assert (table.rows(), qstash.received) == ([], [])


# ------------------------------------------------------------------ the worker


def test_missing_keys_wait_for_the_operator_and_use_up_no_attempt(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    settings.delenv("PAYLOAD_KEYS")
    for _ in range(5):
        answer = deliver(encrypted_job, job_id)
        assert (answer.status, answer.retry_after) == (503, 300)
    row = table.row(job_id)
    assert row["status"] == "retrying"
    assert row["error"].startswith("SettingError: PAYLOAD_KEYS is not set")
    assert row["max_attempts"] - row["attempt"] == encrypted_job.retries + 1

    settings.setenv("PAYLOAD_KEYS", setting("k1"))
    assert deliver(encrypted_job, job_id).status == 200


def test_missing_keys_outlast_the_retries_of_qstash(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    settings.delenv("PAYLOAD_KEYS")
    answer = deliver(encrypted_job, job_id)
    dead_letters.record([DeadLetter(job_id, "msg_1", "dlq_1", "dead", answer.status)])
    row = table.row(job_id)
    assert (row["status"], row["published_at"]) == ("retrying", None)  # the relay sends another


def test_a_retry_after_missing_keys_has_all_its_attempts(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    settings.delenv("PAYLOAD_KEYS")
    deliver(encrypted_job, job_id)
    settings.setenv("PAYLOAD_KEYS", setting("k1"))
    deliver(encrypted_job, job_id)
    retry_and_cancel.retry(job_id, actor="ada")
    row = table.row(job_id)
    assert row["max_attempts"] - row["attempt"] == encrypted_job.retries + 1


def test_a_retired_key_fails_the_job_and_names_the_key(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    settings.setenv("PAYLOAD_KEYS", setting("k2"))
    answer = deliver(encrypted_job, job_id)
    assert answer.stops_qstash
    assert "the key k1, which is not in PAYLOAD_KEYS (there: k2)" in answer.document["error"]
    assert table.row(job_id)["error"] == answer.document["error"]


@pytest.mark.parametrize(
    "place", ["payload of another job", "payload of another type", "result of this job"]
)
def test_a_document_from_another_place_fails_the_job(
    table: Table, qstash: Server, place: str
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    moved = {
        "payload of another job": Place("another", "encrypted", "payload"),
        "payload of another type": Place(job_id, "another", "payload"),
        "result of this job": Place(job_id, "encrypted", "result"),
    }[place]
    document = Jsonb(encrypt({"word": MARKER}, moved))
    table.run("UPDATE job_executions SET payload = %s", document)
    answer = deliver(encrypted_job, job_id)
    assert answer.stops_qstash
    assert answer.document["error"].startswith("EncryptionError: the payload cannot be decrypted")


def test_a_plain_payload_in_the_row_of_an_encrypted_type_is_refused(table: Table) -> None:
    job_id = table.add(encrypted_job, {"word": "slipped in"})
    answer = deliver(encrypted_job, job_id)
    assert answer.stops_qstash
    assert "declared encrypted, and the row's payload is plain" in answer.document["error"]


def test_a_refused_plain_payload_can_be_given_again_and_is_encrypted(
    table: Table, qstash: Server
) -> None:
    job_id = table.add(encrypted_job, {"word": "from before"})
    deliver(encrypted_job, job_id)
    retry_and_cancel.retry(job_id, actor="ada", payload={"word": "from before"})
    assert is_encrypted(table.row(job_id)["payload"])
    assert deliver(encrypted_job, job_id).status == 200


def test_a_message_that_brings_an_encrypted_payload_is_run(table: Table) -> None:
    payload = encrypt({"word": MARKER}, Place("of-another-make", "encrypted", "payload"))
    message = {"jobId": "of-another-make", "type": "encrypted", "payload": payload}
    assert handle(encrypted_job, message).status == 200
    assert MARKER not in dump(table)
    assert decrypted(table, "of-another-make", "result") == {"said": MARKER}


def test_a_message_with_a_plain_payload_for_an_encrypted_type_is_never_written_down(
    table: Table, log: Log
) -> None:
    message = {"jobId": "of-another-make", "type": "encrypted", "payload": {"word": MARKER}}
    answer = handle(encrypted_job, delivery(message))
    assert answer.stops_qstash
    assert "declared encrypted, and the message's payload is plain" in answer.document["error"]
    assert table.rows() == []
    assert MARKER not in log.text + str(answer)


def test_a_worker_of_plain_jobs_never_imports_cryptography(table: Table) -> None:
    table.add(either_job, {"n": 1}, job_id="j_1")
    program = """
import sys
from stashjobs import job
from tests.deliveries import lambda_context

@job("plain-or-encrypted", endpoint="/")
def plain(payload, context):
    return payload

answer = plain.handler({"jobId": "j_1", "type": "plain-or-encrypted"}, lambda_context())
assert answer["statusCode"] == 200, answer
assert "cryptography" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert table.status("j_1") == "completed"


# ------------------------------------------------------------------ what nobody sees


@pytest.mark.parametrize(
    ("do", "status", "error"),
    [
        ("", "completed", None),
        ("progress", "completed", None),
        ("fail", "retrying", "ValueError"),
        ("later", "retrying", "RetryLater"),
        ("cancel", "cancelled", "Cancelled"),
        ("refuse", "failed", "PermanentError"),
        ("mimic", "failed", "EncryptionError"),
        ("odd", "failed", "PermanentError"),
        ("write", "retrying", "InvalidTextRepresentation"),
        ("deferred", "retrying", "UniqueViolation"),
    ],
)
def test_no_row_log_answer_message_or_output_has_the_plaintext(
    table: Table,
    qstash: Server,
    log: Log,
    capfd: pytest.CaptureFixture[str],
    do: str,
    status: str,
    error: str | None,
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER, do=do)).job_id
    answer = deliver(encrypted_job, job_id)
    told = run("status", job_id)
    as_json = run("status", job_id, "--json")

    row = table.row(job_id)
    assert row["status"] == status
    shown = None if error is None else f"{error}: not shown, since the job is encrypted"
    assert row["error"] == shown
    assert answer.document.get("error") == shown
    assert all("traceback" not in each for each in row["errors"])
    captured = capfd.readouterr()
    sent = b"".join(request.body for request in qstash.received).decode()
    for place in (
        dump(table),
        log.text,
        str(answer),
        sent,
        captured.out,
        captured.err,
        told.output,
        as_json.output,
    ):
        assert MARKER not in place


@pytest.mark.parametrize("payload", [{"word": f"bad {MARKER}"}, {"word": [MARKER]}, {MARKER: 1}])
def test_an_invalid_payload_is_refused_without_its_values_or_names(
    table: Table, log: Log, payload: dict[str, Any]
) -> None:
    job_id = "of-another-make"
    encrypted = encrypt(payload, Place(job_id, "encrypted", "payload"))
    answer = handle(encrypted_job, {"jobId": job_id, "type": "encrypted", "payload": encrypted})
    assert answer.stops_qstash
    assert answer.document["error"] == "InvalidPayload: not shown, since the job is encrypted"
    for place in (dump(table), log.text, str(answer)):
        assert MARKER not in place


def test_a_payload_refused_at_enqueue_is_not_repeated_in_the_reasons(
    table: Table, qstash: Server
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        encrypted_job.enqueue({"word": f"bad {MARKER}"})
    assert caught.value.reasons == ["word: value_error"]
    assert table.rows() == []


def test_only_the_fraction_of_the_progress_is_kept(table: Table, qstash: Server) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER, do="progress")).job_id
    deliver(encrypted_job, job_id)
    assert table.row(job_id)["progress"] == {"fraction": 0.5}


def test_what_postgres_says_when_nothing_can_be_recorded_is_not_shown(
    table: Table, qstash: Server, log: Log, settings: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(f"DETAIL: {MARKER}")

    settings.setattr("stashjobs.store.database.PAUSES", (0.0,))
    settings.setattr("stashjobs.store.executions.record_completed", refuse)
    settings.setattr("stashjobs.store.executions.record_not_completed", refuse)
    answer = deliver(encrypted_job, encrypted_job.enqueue(Secret(word=MARKER)).job_id)
    assert answer.status == 503
    assert MARKER not in log.text + str(answer)


# ------------------------------------------------------------------ manual retry


def test_an_edited_payload_is_encrypted_and_the_action_keeps_an_encrypted_result(
    table: Table, qstash: Server
) -> None:
    job_id = encrypted_job.enqueue(Secret(word=MARKER)).job_id
    deliver(encrypted_job, job_id)
    retry_and_cancel.retry(job_id, actor="ada", payload={"word": f"{MARKER} again"})

    assert MARKER not in dump(table)
    [action] = table.run("SELECT before FROM job_actions WHERE job_id = %s", job_id)
    before = decrypt(action["before"]["result"], Place(job_id, "encrypted", "result"))
    assert before == {"said": MARKER}
    deliver(encrypted_job, job_id)
    assert decrypted(table, job_id, "result") == {"said": f"{MARKER} again"}


def test_an_encrypted_job_of_a_plain_type_stays_encrypted_when_edited(
    table: Table, qstash: Server
) -> None:
    job_id = either_job.enqueue({"word": MARKER}, encrypted=True).job_id
    deliver(either_job, job_id)
    retry_and_cancel.retry(job_id, actor="ada", payload={"word": MARKER})
    assert MARKER not in dump(table)


def test_an_edited_payload_that_looks_encrypted_is_refused(table: Table, qstash: Server) -> None:
    job_id = table.add(either_job, {"fail": "x"}, max_attempts=1)
    deliver(either_job, job_id)
    with pytest.raises(InvalidPayload, match="reserved"):
        retry_and_cancel.retry(job_id, actor="ada", payload={"$sealed": {}})
    assert table.status(job_id) == "failed"


# ------------------------------------------------------------------ rotation


@pytest.fixture
def three(table: Table, qstash: Server) -> list[str]:
    """Three encrypted jobs, one completed, one completed and retried; and a plain one."""
    ids = [one.job_id for one in encrypted_job.enqueue_many([Secret(word=MARKER)] * 3)]
    deliver(encrypted_job, ids[0])
    deliver(encrypted_job, ids[1])
    retry_and_cancel.retry(ids[1], actor="ada")
    table.add(either_job, {"plain": True})
    return ids


def test_rotation_encrypts_everything_anew(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    assert key_rotation.rotate_keys(dry_run=True).reencrypted == 5
    assert '"kid": "k2"' not in dump(table)

    report = key_rotation.rotate_keys(batch=2)

    assert (report.reencrypted, report.passed_over, report.unopened) == (5, 0, 0)
    assert report.by_key == {"k2": 5}
    settings.setenv("PAYLOAD_KEYS", setting("k2"))
    assert decrypted(table, three[0], "payload")["word"] == MARKER
    assert decrypted(table, three[0], "result") == {"said": MARKER}
    [action] = table.run(
        "SELECT before FROM job_actions WHERE action = 'retry' ORDER BY at DESC LIMIT 1"
    )
    assert decrypt(action["before"]["result"], Place(three[1], "encrypted", "result"))
    assert deliver(encrypted_job, three[2]).status == 200


def test_a_second_rotation_changes_nothing(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    key_rotation.rotate_keys()
    before = dump(table)
    assert key_rotation.rotate_keys().reencrypted == 0
    assert dump(table) == before


def test_rotation_passes_over_a_row_that_somebody_works_on(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    with table.other.transaction():
        table.other.execute("SELECT FROM job_executions WHERE job_id = %s FOR UPDATE", [three[2]])
        report = key_rotation.rotate_keys()
    assert (report.reencrypted, report.passed_over) == (4, 1)
    assert report.by_key == {"k1": 1, "k2": 4}


def test_rotation_does_not_undo_a_change_made_meanwhile(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    job_id = three[2]
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    edited = encrypt({"word": "edited"}, Place(job_id, "encrypted", "payload"))
    real = encryption.reencrypt

    def change_first(document: Any, place: Place) -> Any:
        if place == Place(job_id, "encrypted", "payload"):
            table.other.execute(
                "UPDATE job_executions SET payload = %s WHERE job_id = %s", [Jsonb(edited), job_id]
            )
        return real(document, place)

    settings.setattr("stashjobs.encryption.reencrypt", change_first)
    assert key_rotation.rotate_keys().passed_over == 1
    assert decrypted(table, job_id, "payload") == {"word": "edited"}


def test_a_job_whose_row_is_rotated_while_it_runs_completes(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    job = probe(lambda payload, _context: [payload, key_rotation.rotate_keys().reencrypted])
    table.add(job, encrypt(MARKER, Place("j_1", "probe", "payload")), job_id="j_1")
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    assert deliver(job, "j_1").status == 200
    assert decrypted(table, "j_1", "result") == [MARKER, 1]
    assert table.row("j_1")["payload"]["$sealed"]["kid"] == "k2"


def test_what_cannot_be_opened_is_left_and_counted(
    table: Table, three: list[str], settings: pytest.MonkeyPatch, log: Log
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k3"))
    before = dump(table)
    report = key_rotation.rotate_keys()
    assert (report.reencrypted, report.unopened, report.by_key) == (0, 5, {"k1": 5})
    assert dump(table) == before


# ------------------------------------------------------------------ the command line


def test_keys_new_prints_an_entry_and_what_to_do(settings: pytest.MonkeyPatch) -> None:
    settings.delenv("PAYLOAD_KEYS")
    first = run("keys", "new", "--id", "k9")
    assert first.exit_code == 0
    settings.setenv("PAYLOAD_KEYS", first.stdout.strip())
    assert "Set PAYLOAD_KEYS to this" in first.stderr
    second = run("keys", "new")
    assert "PAYLOAD_KEYS=k9:…," in second.stderr
    assert first.stdout.strip() not in second.output
    settings.setenv("PAYLOAD_KEYS", f"{second.stdout.strip()},{first.stdout.strip()}")
    assert decrypt(encrypt(1, Place("a", "b", "payload")), Place("a", "b", "payload")) == 1


@pytest.mark.parametrize("key_id", ["k1", "a b", "x" * 33])
def test_keys_new_refuses_an_id_that_cannot_be(key_id: str) -> None:
    assert run("keys", "new", "--id", key_id).exit_code == 2


def test_keys_rotate_says_when_a_key_may_be_retired(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    counted = run("keys", "rotate", "--dry-run").output
    assert "to re-encrypt with k2: 5." in counted
    assert "still needed" in counted
    result = run("keys", "rotate", "--batch", "1")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[2] == ["k2", "5", "current"]
    assert lines[3][:6] == ["k1", "0", "no", "row", "needs", "it:"]
    assert KEYS["k1"] not in result.output


def test_keys_rotate_fails_where_a_key_is_missing(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k3"))
    result = run("keys", "rotate")
    assert result.exit_code == 1
    assert "not in PAYLOAD_KEYS: put it back" in result.output
    assert "5 encrypted documents could not be decrypted" in result.output


def test_keys_rotate_is_json_for_a_machine(
    table: Table, three: list[str], settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", setting("k2", "k1"))
    report = json.loads(run("keys", "rotate", "--json").stdout)
    assert (report["current"], report["resealed"], report["by_key"]) == ("k2", 5, {"k2": 5})


def test_the_command_line_encrypts_a_job_of_a_plain_type(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch, repository: Path
) -> None:
    settings.chdir(repository)
    result = run("enqueue", "plain-or-encrypted", json.dumps({"w": MARKER}), "--encrypted")
    assert result.exit_code == 0, result.output
    assert run("enqueue", "plain-or-encrypted", '{"w": 1}').exit_code == 0
    assert MARKER not in dump(table)
    assert [is_encrypted(row["payload"]) for row in table.rows()] == [True, False]
