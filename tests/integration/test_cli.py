"""The command line, as a person and a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner, Result

import stashjobs
from infra.local.stack import lock
from stashjobs import Context, PermanentError, job
from stashjobs.producer import qstash_client, schedules
from stashjobs.tools.cli import COMMANDS, main
from tests.deliveries import deliver, probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.deliveries import Table


@job("told", endpoint="/api/jobs/told", retries=1)
def told(payload: dict[str, Any], _context: Context) -> dict[str, Any]:
    """Does what its payload says."""
    if payload.get("fail"):
        raise PermanentError("no luck")
    if payload.get("stumble"):
        raise RuntimeError("stumbled")
    return {"well": "done"}


WELCOME = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada", "getStartedUrl": "https://app.example.com"},
}


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run `stashjobs`, keeping the environment as it was."""
    before = dict(os.environ)
    try:
        return CliRunner().invoke(main, list(arguments), input=stdin)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def _without_a_running_stack(
    table: Table, settings: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    """The commands run beside the functions, and find no `stashjobs dev` of the developer's."""
    (tmp_path / "functions").symlink_to(repository / "functions")
    settings.chdir(tmp_path)
    settings.setenv("QSTASH_TOKEN", "token-of-a-test")
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")


def test_every_command_explains_itself() -> None:
    answers = {name: run(name, "--help") for name in COMMANDS}
    assert {name: answer.exit_code for name, answer in answers.items()} == dict.fromkeys(answers, 0)
    first = {name: answer.output.partition(" [")[0] for name, answer in answers.items()}
    assert first == {name: f"Usage: main {name}" for name in COMMANDS}


@pytest.mark.parametrize(
    ("command", "source", "said"),
    [
        ("types", "def broken(:\n", "line 2: invalid syntax"),
        ("types", "x = '\n", "line 2: unterminated string literal"),
        ("types", "import no_such_module\n", "line 2: ModuleNotFoundError: No module named"),
        (
            "schedules sync --dry-run",
            "from stashjobs import job\njob('Bad Name', endpoint='/x')\n",
            "line 3: ValueError: job",
        ),
        (
            "enqueue broken {}",
            "def f():\n    return nothing\nf()\n",
            "line 3: NameError: name 'nothing'",
        ),
    ],
)
def test_a_handler_that_cannot_be_imported_is_named_with_its_line(
    tmp_path: Path, command: str, source: str, said: str
) -> None:
    """In a process of its own, which has imported no handler yet. What is wrong is found in one
    place, whichever the command is."""
    (tmp_path / "functions").unlink()
    handler = tmp_path / "functions" / "broken" / "handler.py"
    handler.parent.mkdir(parents=True)
    for folder in (handler.parent, handler.parent.parent):
        (folder / "__init__.py").touch()
    handler.write_text(f"# Broken.\n{source}")
    made = subprocess.run(
        [sys.executable, "-m", "stashjobs", *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "BASE_URL": "https://app.example.com"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 2
    assert "Traceback" not in made.stderr
    assert len(made.stderr.splitlines()) == 1
    assert "functions/broken/handler.py, " + said in made.stderr


def test_a_job_is_enqueued_from_the_command_line(table: Table) -> None:
    result = run("enqueue", "send-email", json.dumps(WELCOME), "--user-id", "u_1", "--json")

    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["created"] is True
    row = table.row(answer["jobId"])
    assert (row["job_type"], row["status"], row["user_id"]) == ("send-email", "pending", "u_1")


def test_a_payload_can_come_from_standard_input(table: Table) -> None:
    assert run("enqueue", "send-email", "-", stdin=json.dumps(WELCOME)).exit_code == 0
    assert len(table.rows()) == 1


def test_the_example_of_a_type_can_be_enqueued(table: Table) -> None:
    assert run("enqueue", "send-email", "--example").exit_code == 0
    assert table.rows()[0]["payload"]["template"] == "welcome"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["enqueue", "no-such-type", "{}"], "unknown job type 'no-such-type'; declared here:"),
        (["enqueue", "send-email", "{"], "the payload is not JSON"),
        (["enqueue", "send-email", "{}"], "template: Field required"),
        (["enqueue", "send-email"], "--example"),
        (["enqueue", "send-email", "--example", "--delay", "-1"], "delay is -1.0"),
        (["retry"], "give the id of one job"),
        (["retry", "id", "--type", "told"], "not both"),
        (["retry", "--type", "nope", "--dry-run"], "unknown job type 'nope'; there are "),
        (["cancel", "--type", "nope", "--yes"], "unknown job type 'nope'; there are "),
        (["list", "--type", "nope"], "unknown job type 'nope'; there are "),
        (["retry", "--type", "told", "--payload", "{}"], "--payload is for one job"),
        (["retry", "--type", "told", "--from-step", "a"], "--from-step is for one job"),
        (["retry", "--older-than", "soon"], "write 90s, 10m, 2h or 7d"),
        (["enqueue", "send-email", "--example", "--at", "soon"], "write 2030-01-31T09:00:00Z"),
        (["enqueue", "send-email", "--example", "--at", "2030-01-31T09:00:00"], "no time zone"),
        (["list", "--status", "lost"], "is not one of"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_use_exits_with_2_says_why_and_changes_nothing(
    table: Table, arguments: list[str], words: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert table.rows() == []


def test_a_missing_setting_names_itself_and_where_to_put_it(settings: pytest.MonkeyPatch) -> None:
    settings.delenv("POSTGRES_URL")
    result = run("list")
    assert result.exit_code == 2
    assert "POSTGRES_URL is not set. The stage is local: `stashjobs dev` writes its settings" in (
        result.output
    )
    assert "run `stashjobs dev`" in result.output


def test_postgres_out_of_reach_exits_with_1(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody:secret-word@127.0.0.1:9/none")
    result = run("list")
    assert result.exit_code == 1
    assert "Postgres cannot be reached" in result.output
    assert "run `stashjobs dev`" in result.output
    assert "secret-word" not in result.output


def test_settings_come_from_dot_env_and_the_environment_wins(
    tmp_path: Path, table: Table, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.delenv("POSTGRES_URL")
    (tmp_path / ".env").write_text(f"POSTGRES_URL={database_url}\nSTAGE=production\n")
    assert run("list").exit_code == 0


def test_another_stage_has_a_file_of_its_own(
    tmp_path: Path, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.delenv("POSTGRES_URL")
    (tmp_path / ".env.staging").write_text(f"POSTGRES_URL={database_url}\n")
    assert run("list", "--stage", "staging").exit_code == 0
    (tmp_path / ".env.dev").write_text(f"POSTGRES_URL={database_url}\n")
    assert run("list", "--stage", "dev").exit_code == 0


def test_another_stage_does_not_read_a_developers_env(
    tmp_path: Path, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.delenv("POSTGRES_URL")
    settings.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        settings.setenv(name, "of-a-test")
    settings.setenv("AWS_REGION", "eu-central-1")
    (tmp_path / ".env").write_text(f"POSTGRES_URL={database_url}\n")
    result = run("list", "--stage", "production")
    assert result.exit_code == 2
    assert "the secret stashjobs/production, then the secret stashjobs/prod" in result.stderr
    assert ".env is for the stage local, and is not read" in result.stderr
    assert "stashjobs/production (SETTINGS_SECRET) cannot be read" in result.stderr


def test_another_stage_says_what_this_shell_decides(
    tmp_path: Path, table: Table, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_URL", database_url)
    (tmp_path / ".env.production").write_text("POSTGRES_URL=postgresql://elsewhere/x\n")
    result = run("list", "--stage", "production", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == []
    assert "Settings of production: POSTGRES_URL" in result.stderr
    assert "of this shell, then .env.production." in result.stderr


def story_of(job_id: str) -> list[str]:
    return run("status", job_id).output.partition("\n\n")[0].splitlines()


def test_status_tells_the_story_of_a_job_in_order(table: Table) -> None:
    job_id = table.add(told, {"stumble": True})
    deliver(told, job_id)
    table.run("""UPDATE job_executions SET payload = '{}' WHERE job_id = %s""", job_id)
    deliver(told, job_id)

    lines = story_of(job_id)
    states = [line.split()[3] for line in lines[2:-1]]
    assert states == ["pending", "pending", "processing", "retrying", "processing", "completed"]
    assert "RuntimeError: stumbled" in lines[5]
    assert "attempt 2 of 2" in lines[7]


def test_status_tells_what_operators_did_and_of_runs_before(table: Table) -> None:
    job_id = table.add(told, {}, user_id="u_1")
    deliver(told, job_id)
    run("retry", job_id, "--by", "ada", "--yes")
    run("cancel", job_id, "--by", "grace")

    lines = story_of(job_id)
    assert "cancelled" in lines[0]
    assert "user u_1" in lines[1]
    notes = [line.split(maxsplit=4)[3:] for line in lines[2:]]
    assert ["completed", "an earlier run"] in notes
    assert ["pending", "retried by ada"] in notes
    assert notes[-1] == ["cancelled", "by grace"]


def test_retry_from_a_step_keeps_those_before_and_status_tells_of_all(table: Table) -> None:
    job_id = table.add(told, {}, user_id="u_1")
    deliver(told, job_id)
    for position, name in enumerate(("fetch", "store"), start=1):
        table.run(
            "INSERT INTO job_steps VALUES (%s, %s, %s, '1', 1, now() - interval '2 s', now())",
            job_id,
            position,
            name,
        )
    refused = run("retry", job_id, "--from-step", "sent", "--yes")
    assert refused.exit_code == 1
    assert "has kept no step 'sent'; it has kept 'fetch', 'store'" in refused.output
    assert run("retry", job_id, "--from-step", "store", "--yes").exit_code == 0
    output = run("status", job_id).output
    assert "step 1 fetch, 2.000 s" in output
    assert "step 2 store, 2.000 s" in output
    assert table.run("SELECT name FROM job_steps") == [{"name": "fetch"}]


def test_status_tells_when_a_job_is_due(table: Table) -> None:
    job_id = table.add(told, {})
    table.run("UPDATE job_executions SET available_at = now() + interval '1 hour'")
    assert story_of(job_id)[-1].split()[-2:] == ["pending", "due"]


def test_status_shows_payload_metadata_and_traceback_without_secrets(table: Table) -> None:
    payload = {"stumble": True, "password": "t-zyxw"}
    job_id = table.add(told, payload, metadata={"from": "signup", "apiKey": "t-zyxw"})
    deliver(told, job_id)
    output = run("status", job_id).output
    assert 'payload   {"stumble": true, "password": "[hidden]"}' in output
    assert 'metadata  {"from": "signup", "apiKey": "[hidden]"}' in output
    assert 'raise RuntimeError("stumbled")' in output
    assert "zyxw" not in output
    assert json.loads(run("status", job_id, "--json").stdout)["payload"]["password"] == "[hidden]"


def test_list_and_status_mask_an_error_before_it_is_cut(table: Table) -> None:
    error = "KeyError: " + "x" * 29 + " sk_live_a1B2c3D4e5F6a1B2 was refused"
    job_id = table.add(told)
    table.run(
        "UPDATE job_executions SET status = 'failed', attempt = 1, completed_at = now(),"
        " error = %s, errors = jsonb_build_array(jsonb_build_object('attempt', 1,"
        " 'type', 'KeyError', 'message', %s::text, 'startedAt', now(), 'endedAt', now()))",
        error,
        error,
    )
    for output in (run("list").output, run("status", job_id).output):
        assert "[hidden]" in output
        assert "sk_live" not in output


@pytest.mark.parametrize("shown", [lambda job_id: f"…{job_id[-8:]}", lambda job_id: job_id[-8:]])
def test_the_short_id_of_a_list_is_accepted(table: Table, shown: Callable[[str], str]) -> None:
    job_id, other = table.add(told), table.add(told)
    short = shown(job_id)
    assert run("status", short).output.splitlines()[0].split()[1] == job_id
    assert run("cancel", short).exit_code == 0
    assert (table.status(job_id), table.status(other)) == ("cancelled", "pending")
    assert run("retry", short).exit_code == 0
    assert run("reschedule", short, "--delay", "60").exit_code == 0
    assert run("edit", short, "{}").exit_code == 0
    assert run("enqueue", "told", "{}", "--after", short).exit_code == 0
    assert run("run-now", short).exit_code == 0
    assert run("delete", short, "--yes").exit_code == 0


def test_a_part_of_an_id_that_is_several_jobs_is_refused(table: Table) -> None:
    for number in (1, 2):
        table.add(told, job_id=f"several-{number}")
    result = run("cancel", "several-")
    assert result.exit_code == 1
    assert "several- is several jobs, among them several-1 and several-2" in result.output
    assert run("status", "eral-1").exit_code == 0
    assert run("status", "al-1").exit_code == 1  # too short to be meant


def test_list_pages_and_filters_by_age_and_metadata(table: Table) -> None:
    ids = [table.add(told, metadata={"n": number % 2}) for number in range(5)]
    table.run(
        "UPDATE job_executions SET created_at = now() - interval '3 h' WHERE job_id = %s", ids[0]
    )

    def listed(*options: str) -> list[str]:
        return [one["jobId"] for one in json.loads(run("list", "--json", *options).stdout)]

    assert listed("--newer-than", "2h") == ids[:0:-1]
    assert listed("--older-than", "2h") == [ids[0]]
    assert listed("--metadata", '{"n": 1}') == [ids[3], ids[1]]
    assert listed("--limit", "2", "--page", "2") == [ids[2], ids[1]]
    assert listed("--limit", "2", "--page", "3") == [ids[0]]
    assert listed("--limit", "2", "--page", "4") == []
    assert "There are more: --page 3" in run("list", "--limit", "2", "--page", "2").output
    assert "more" not in run("list", "--limit", "2", "--page", "3").output
    for wrong in (("--newer-than", "soon"), ("--metadata", "1"), ("--page", "0")):
        result = run("list", *wrong)
        assert (result.exit_code, wrong[0] in result.output) == (2, True)


def test_a_misspelt_type_or_command_is_guessed() -> None:
    for arguments in (
        ["enqueue", "send-emial", "{}"],
        ["list", "--type", "send-emial"],
        ["stats", "--type", "send-emial"],
        ["retry", "--type", "send-emial"],
    ):
        result = run(*arguments)
        assert (result.exit_code, "Did you mean send-email?" in result.output) == (2, True)
    result = run("enqeue", "send-email")
    assert (result.exit_code, "Did you mean enqueue?" in result.output) == (2, True)


def test_a_shell_can_complete_job_types_and_schedules() -> None:
    def completed(words: str) -> list[str]:
        environment = {
            "_STASHJOBS_COMPLETE": "bash_complete",
            "COMP_WORDS": f"stashjobs {words}",
            "COMP_CWORD": str(len(words.split())),
        }
        result = CliRunner().invoke(main, [], env=environment, prog_name="stashjobs")
        return [line.partition(",")[2] for line in result.output.splitlines()]

    assert completed("enqueue send-e") == ["send-email"]
    assert completed("list --type create-") == ["create-notification"]
    assert "send-email" in completed("pause send")


def test_status_of_a_job_that_qstash_does_not_deliver_names_a_busy_function_first(
    table: Table,
) -> None:
    job_id, busy = table.add(told, {}), table.add(told, {})
    table.run(
        "UPDATE job_executions SET published_at = now() - interval '40 minutes',"
        " available_at = now() - interval '40 minutes' WHERE job_id = %s",
        job_id,
    )
    assert "QStash has had the message" not in run("status", busy).output
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " lease_expires_at = now() + interval '1 minute' WHERE job_id = %s",
        busy,
    )
    output = " ".join(run("status", job_id).output.split())
    assert "QStash has had the message for 40 minutes. Just now 1 job of told runs" in output
    assert "deliveries are turned away (429 or 500)" in output


def test_status_is_json_for_a_machine(table: Table) -> None:
    job_id = table.add(told, {"fail": True})
    deliver(told, job_id)
    document = json.loads(run("status", job_id, "--json").stdout)
    assert (document["status"], document["error"]) == ("failed", "PermanentError: no luck")
    assert (document["jobId"], document["payload"]) == (job_id, {"fail": True})


def test_status_of_no_job_exits_with_1() -> None:
    result = run("status", "nowhere")
    assert (result.exit_code, "there is no job nowhere" in result.output) == (1, True)


def test_list_shows_the_newest_first_and_filters(table: Table) -> None:
    first, second = table.add(told, {}), table.add(told, {}, user_id="u_1")
    deliver(told, first)

    def listed(*options: str) -> list[str]:
        return [one["jobId"] for one in json.loads(run("list", "--json", *options).stdout)]

    assert listed() == [second, first]
    assert listed("--status", "completed") == [first]
    assert listed("--user-id", "u_1") == [second]
    assert listed("--type", "send-email") == []
    assert listed("--limit", "1") == [second]
    assert second in run("list").output
    assert run("list", "--type", "send-email").output == "No jobs.\n"


def test_a_type_that_the_code_no_longer_declares_is_known_by_its_jobs(table: Table) -> None:
    table.add(probe(type="of-old"), {})
    table.add(told, {})
    assert len(json.loads(run("list", "--type", "of-old", "--json").stdout)) == 1
    assert run("cancel", "--type", "of-old", "--yes").output == "1 job cancelled.\n"
    assert "of-old" in run("list", "--type", "nope").output


def test_retry_by_filter_counts_asks_and_does_it(table: Table) -> None:
    job_id = table.add(told, {"fail": True})
    deliver(told, job_id)

    assert run("retry", "--type", "told", "--dry-run").output == "1 job would be retried.\n"
    assert run("retry", "--type", "told", stdin="n\n").exit_code == 1
    assert table.status(job_id) == "failed"
    result = run("retry", "--type", "told", "--yes", "--by", "ada")
    assert (result.exit_code, result.output) == (0, "1 job retried.\n")
    assert table.status(job_id) == "pending"
    assert table.run("SELECT actor FROM job_actions")[0]["actor"] == "ada"


def test_a_job_that_has_completed_is_not_run_again_unasked(table: Table) -> None:
    job_id = table.add(told, {})
    deliver(told, job_id)
    refused = run("retry", job_id, stdin="n\n")
    assert (refused.exit_code, table.status(job_id)) == (1, "completed")
    assert "has completed; it will do all of it again" in refused.output
    for_a_machine = run("retry", job_id, "--json")
    assert (for_a_machine.exit_code, table.status(job_id)) == (2, "completed")
    assert run("retry", job_id, "--yes", "--json").exit_code == 0
    assert table.status(job_id) == "pending"


def test_a_job_that_has_failed_is_run_again_without_a_question(table: Table) -> None:
    job_id = table.add(told, {"fail": True})
    deliver(told, job_id)
    assert run("retry", job_id).output == "1 job retried.\n"


def test_a_job_due_beyond_what_qstash_holds_is_left_to_the_relay(table: Table) -> None:
    result = run("enqueue", "send-email", "--example", "--delay", str(400 * 86_400))
    assert result.exit_code == 0
    assert "the relay publishes it in time" in result.output
    assert "could not be published" not in result.output
    assert table.rows()[0]["published_at"] is None


def test_a_job_waits_for_another_and_says_so(table: Table) -> None:
    parent = table.add(told)
    result = run("enqueue", "send-email", "--example", "--after", parent, "--when", "ended")
    assert "recorded. It waits for the jobs in --after." in result.output
    assert table.rows()[-1]["status"] == "waiting"
    refused = run("enqueue", "send-email", "--example", "--after", "nobody")
    assert (refused.exit_code, "there is no job nobody" in refused.output) == (2, True)


def test_a_schedule_is_paused_resumed_and_run(
    table: Table, settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly = schedules.Schedule("cli-nightly", told, "0 3 * * *", "UTC", {"n": 1})
    monkeypatch.setattr(schedules, "_declared", {"cli-nightly": nightly})
    with qstash_running() as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        assert "not at QStash" in run("schedules", "list").output
        assert run("schedules", "pause", "cli-nightly").exit_code == 1  # not synced yet
        assert "created cli-nightly" in run("schedules", "sync").output
        assert run("schedules", "pause", "cli-nightly").output == "cli-nightly is paused.\n"
        assert json.loads(run("schedules", "list", "--json").output)[0]["state"] == "paused"
        resumed = run("schedules", "resume", "cli-nightly", "--by", "ada", "--json")
        assert json.loads(resumed.output) == {"name": "cli-nightly", "state": "active"}
        answer = json.loads(run("schedules", "run", "cli-nightly", "--json").output)
        assert table.row(answer["jobId"])["payload"] == {"n": 1}
        for action in ("pause", "resume", "run"):
            result = run("schedules", action, "cli-nihgtly")
            assert result.exit_code == 2
            assert "Did you mean cli-nightly?" in result.output
        qstash_client.close()
    done = table.run("SELECT actor, action FROM schedule_actions ORDER BY action_id")
    assert [each["action"] for each in done] == ["pause", "resume", "run"]
    assert done[1]["actor"] == "ada"


def test_a_job_has_metadata_expires_and_is_one_of_a_kind(table: Table) -> None:
    options = ["--metadata", '{"from": "shell"}', "--expires", "10m", "--unique", "u", "--json"]
    first = json.loads(run("enqueue", "told", '{"n": 1}', *options).output)
    again = json.loads(run("enqueue", "told", '{"n": 2}', "--unique", "u", "--json").output)
    assert again == {"jobId": first["jobId"], "created": False, "published": False}
    [row] = table.rows()
    assert row["metadata"] == {"from": "shell"}
    assert round((row["expires_at"] - row["created_at"]).total_seconds(), -1) == 600
    by_field = run("enqueue", "told", '{"n": 1}', "--unique-field", "n", "--debounce", "5")
    assert by_field.exit_code == 0, by_field.output
    assert "unique key already" in run("enqueue", "told", '{"n": 1}', "--unique-field", "n").output
    assert len(table.rows()) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--expires", "soon"], "--expires"),
        (["--expires", "0s"], "expires"),
        (["--expires", "999999999999d"], "--expires"),
        (["--metadata", "[]"], "--metadata"),
        (["--unique", "u", "--unique-field", "n"], "--unique"),
        (["--unique-field", "missing"], "unique"),
        (["--replace"], "unique"),
    ],
)
def test_an_option_of_enqueue_that_makes_no_sense_is_wrong_use(
    table: Table, options: list[str], named: str
) -> None:
    result = run("enqueue", "told", "{}", *options)
    assert result.exit_code == 2
    assert named in result.output
    assert table.rows() == []


def test_a_job_that_waits_is_changed(table: Table) -> None:
    job_id = table.add(told, {"n": 1})
    moment = "2090-01-31T09:00:00+00:00"
    moved = run("reschedule", job_id, "--at", moment, "--json")
    assert json.loads(moved.output) == {"jobId": job_id, "availableAt": moment}
    assert run("edit", job_id, '{"n": 2}', "--by", "ada").exit_code == 0
    assert json.loads(run("run-now", job_id, "--json").output) == {"run_now": 1}
    row = table.row(job_id)
    assert (row["payload"], row["available_at"].year < 2090) == ({"n": 2}, True)
    assert "Go on?" in run("delete", job_id, stdin="n\n").output
    assert table.status(job_id) == "pending"
    assert run("delete", "--type", "told", "--yes").output == "1 job deleted.\n"
    assert table.rows() == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["reschedule", "{id}"], 2, "give delay or at"),
        (["reschedule", "{id}", "--at", "soon"], 2, "--at"),
        (["reschedule", "none", "--delay", "5"], 1, "there is no job none"),
        (["edit", "{id}", "{{"], 2, "not JSON"),
        (["run-now"], 2, "give the id of one job"),
        (["delete"], 2, "give the id of one job"),
        (["delete", "none", "--yes"], 1, "there is no job none"),
    ],
)
def test_a_change_of_what_waits_that_makes_no_sense_changes_nothing(
    table: Table, arguments: list[str], exit_code: int, words: str
) -> None:
    job_id = table.add(told)
    before = table.rows()
    result = run(*(each.format(id=job_id) for each in arguments))
    assert (result.exit_code, words in result.output) == (exit_code, True), result.output
    assert table.rows() == before


def test_a_job_is_enqueued_for_a_moment(table: Table) -> None:
    result = run("enqueue", "send-email", "--example", "--at", "2099-01-31T10:00:00+01:00")
    assert "due 2099-01-31 09:00 UTC" in result.output
    assert table.rows()[0]["available_at"].isoformat() == "2099-01-31T09:00:00+00:00"


def test_a_dump_is_not_taken_over_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("mine")
    result = run("backup", "take", "dump")
    assert (result.exit_code, "dump exists; give another name" in result.output) == (2, True)
    assert (tmp_path / "dump").read_text() == "mine"


def test_a_cost_is_told_without_exponents() -> None:
    output = run("cost", "--jobs-per-month", "1000000").output
    assert "1,000,000 x " in output
    assert "e+0" not in output


def test_a_job_that_qstash_could_not_be_told_of_is_recorded(table: Table) -> None:
    result = run("enqueue", "send-email", "--example")
    assert (result.exit_code, len(table.rows())) == (0, 1)
    assert "QStash did not take it. The relay publishes it" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["enqueue", "send-emial", "--example"],
        ["list", "--type", "sendEmail"],
        ["stats", "--type", "send_email"],
        ["pause", "send-mail"],
        ["tokens", "new", "app", "--scope", "enqueue:send-emails"],
    ],
)
def test_a_misspelt_type_is_told_the_nearest_one(table: Table, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, "Did you mean send-email?" in result.output) == (2, True)
    assert table.rows() == []


def test_a_job_whose_route_the_running_stack_does_not_have_is_told(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", "local")
    monkeypatch.setenv("STASHJOBS_HOME", str(tmp_path))
    (tmp_path / "dev.env").touch()
    (tmp_path / "routes").write_text("/api/jobs/other\n")
    result = run("enqueue", "send-email", "--example")
    assert "Warning: stashjobs dev has no route /api/jobs/email for send-email" in result.output
    (tmp_path / "routes").write_text("/api/jobs/email\n")
    assert "Warning" not in run("enqueue", "send-email", "--example").output


def test_types_lists_what_is_declared() -> None:
    [email] = [
        one for one in json.loads(run("types", "--json").stdout) if one["type"] == "send-email"
    ]
    assert email["endpoint"] == "/api/jobs/email"
    assert (email["retries"], email["timeout"], email["encrypted"]) == (3, 30, False)
    [line] = [each for each in run("types").output.splitlines() if each.startswith("send-email ")]
    assert line.split()[1:6] == ["/api/jobs/email", "3", "retries", "30", "s"]


def test_stats_tell_how_jobs_did_and_what_waits(table: Table) -> None:
    deliver(told, table.add(told, {}))
    deliver(told, table.add(told, {"fail": True}))
    table.add(told, {})
    document = json.loads(run("stats", "--json").stdout)
    assert [each["type"] for each in document["types"]] == [None, "told"]
    assert document["types"][1]["failureRate"] == 0.5
    assert document["queue"].keys() == {"depth", "oldestSeconds", "processedLastHour"}
    assert (document["queue"]["depth"], document["queue"]["processedLastHour"]) == (1, 2)
    shown = run("stats", "--type", "told").output.splitlines()
    assert shown[1].split()[:5] == ["told", "3", "1", "1", "50.0%"]
    assert shown[-1].startswith("1 job due and waiting")


def test_stats_of_a_type_that_is_not_there_is_wrong_use() -> None:
    result = run("stats", "--type", "no-such")
    assert (result.exit_code, "unknown job type 'no-such'" in result.output) == (2, True)
    assert "idle" in run("stats", "--type", "send-email").output


def test_another_home_has_settings_of_its_own(
    tmp_path: Path, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.delenv("POSTGRES_URL")
    home = tmp_path / "elsewhere"
    home.mkdir()
    assert run("list", "--home", str(home)).exit_code == 2
    (home / "dev.env").write_text(f"POSTGRES_URL={database_url}\n")
    assert run("list", "--home", str(home)).exit_code == 0
    settings.setenv("STASHJOBS_HOME", str(home))
    assert run("list").exit_code == 0


def test_a_home_where_nothing_runs_is_told(tmp_path: Path) -> None:
    result = run("list", "--home", str(tmp_path))
    assert (result.exit_code, "there is no dev.env in it" in result.output) == (2, True)


def test_qstash_alone_beside_a_running_dev_says_where_that_ones_is(
    tmp_path: Path, repository: Path
) -> None:
    home = tmp_path / "home"
    held = lock(home)
    code = "from stashjobs.tools.cli import main; main()"
    arguments = ["dev", "--only", "qstash", "--port", "0", "--home", str(home)]
    told = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(held)
    assert told.returncode == 2
    assert f"runs with {home} already, and has a QStash" in told.stderr
    assert f"{home / 'dev.env'}. For another one, give --home another folder" in told.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(shell: str) -> None:
    asked = {"_STASHJOBS_COMPLETE": f"{shell}_source"}
    script = CliRunner(env=asked).invoke(main, prog_name="stashjobs").output
    assert "_STASHJOBS_COMPLETE" in script
    words = {"_STASHJOBS_COMPLETE": f"{shell}_complete", "COMP_WORDS": "stashjobs sta"}
    answer = CliRunner(env=words | {"COMP_CWORD": "1" if shell != "fish" else "sta"}).invoke(
        main, prog_name="stashjobs"
    )
    assert {"stats", "status"} <= set(answer.output.replace(",", " ").split())


def test_the_version_is_the_packages() -> None:
    assert run("--version").output == f"main, version {stashjobs.__version__}\n"


def test_retry_by_type_leaves_what_completed_alone(table: Table) -> None:
    job_id = table.add(told, {})
    deliver(told, job_id)
    assert json.loads(run("retry", "--type", "told", "--json").stdout) == {"retried": 0}
    assert table.status(job_id) == "completed"


def test_one_job_is_retried_with_an_edited_payload(table: Table) -> None:
    job_id = table.add(told, {"fail": True})
    deliver(told, job_id)
    assert run("retry", job_id, "--payload", '{"fail": false}').exit_code == 0
    assert deliver(told, job_id).status == 200


def test_a_dry_run_changes_nothing_and_tells_the_truth(table: Table) -> None:
    job_id = table.add(told, {"fail": True})
    assert run("retry", job_id, "--dry-run").output == "0 jobs would be retried.\n"
    deliver(told, job_id)
    edited = run("retry", job_id, "--payload", '{"fail": false}', "--dry-run")
    assert edited.output == "1 job would be retried.\n"
    assert table.status(job_id) == "failed"
    assert run("cancel", job_id, "--dry-run").output == "0 jobs would be cancelled.\n"
    nobody = run("retry", "nobody", "--dry-run")
    assert (nobody.exit_code, nobody.stderr) == (1, "Error: there is no job nobody\n")


def test_a_status_alone_is_a_filter(table: Table) -> None:
    job_id = table.add(told, {})
    assert run("cancel", "--status", "pending", "--yes").output == "1 job cancelled.\n"
    assert table.status(job_id) == "cancelled"
    assert run("retry", "--status", "cancelled", "--yes").output == "1 job retried.\n"
    assert run("retry", job_id, "--status", "failed").exit_code == 2


def test_an_edited_payload_that_does_not_fit_is_refused_before_anything_is_written(
    table: Table,
) -> None:
    job_id = json.loads(run("enqueue", "send-email", json.dumps(WELCOME), "--json").stdout)["jobId"]
    run("cancel", job_id)
    result = run("retry", job_id, "--payload", '{"to": 1}')
    assert (result.exit_code, "template: Field required" in result.output) == (2, True)
    assert table.status(job_id) == "cancelled"


def test_one_job_is_cancelled(table: Table) -> None:
    job_id = table.add(told, {})
    assert run("cancel", job_id).exit_code == 0
    assert table.status(job_id) == "cancelled"
    assert run("cancel", job_id).exit_code == 1


def test_migrate_says_what_it_did(settings: pytest.MonkeyPatch) -> None:
    result = run("migrate")
    assert (result.exit_code, result.output) == (0, "The database is up to date.\n")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_dotenv_that_is_not_utf_8_is_refused_without_its_values(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / ".env").write_bytes("RESEND_API_KEY=sécret\n".encode(encoding))
    result = run("list")
    assert (result.exit_code, ".env is not UTF-8 text" in result.stderr) == (2, True)
    assert "cret" not in result.output


def test_a_dotenv_may_begin_with_a_byte_order_mark(
    tmp_path: Path, settings: pytest.MonkeyPatch, database_url: str
) -> None:
    settings.delenv("POSTGRES_URL")
    (tmp_path / ".env").write_text(f"POSTGRES_URL={database_url}\n", encoding="utf-8-sig")
    assert run("list").exit_code == 0


@pytest.fixture
def unmigrated(database_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE unmigrated TEMPLATE template0")
        yield database_url.replace(connection.info.dbname, "unmigrated")
        connection.execute("DROP DATABASE unmigrated (FORCE)")


@pytest.mark.parametrize("command", ["migrate", "list"])
@pytest.mark.parametrize(
    "change", ["default_transaction_read_only=on", "search_path=nowhere", "role=pg_monitor"]
)
def test_what_postgres_does_not_allow_is_one_sentence(
    settings: pytest.MonkeyPatch, unmigrated: str, command: str, change: str
) -> None:
    asked = f"options=-c%20{change.replace('=', '%3D')}"
    settings.setenv("POSTGRES_URL", f"{unmigrated}{'&' if '?' in unmigrated else '?'}{asked}")
    result = run(command)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("query", ["?pgbouncer=true", "?schema=app"])
def test_another_library_s_url_is_wrong_use(settings: pytest.MonkeyPatch, query: str) -> None:
    settings.setenv("POSTGRES_URL", f"postgresql://u:secret@localhost/db{query}")
    result = run("list")
    assert result.exit_code == 2
    assert "secret" not in result.output


def test_an_unescaped_percent_sign_shows_no_password(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://u:se%zzword@localhost/db")
    for command in ("list", "migrate", "doctor"):
        result = run(command)
        assert result.exit_code in {1, 2}
        assert "zzword" not in result.output
        assert "Traceback" not in result.output
