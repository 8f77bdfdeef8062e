"""Settings in Secrets Manager: real HTTP requests, answered by moto's server."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from stashjobs.config import secrets_manager, settings, stage_secret
from stashjobs.delivery import request
from stashjobs.errors import InvalidSignature, SettingError
from stashjobs.observability import redaction
from stashjobs.store import database
from tests.conftest import CURRENT_KEY, NEXT_KEY
from tests.deliveries import Table, handle, http_event, probe, sign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.tools.servers.postgres import Postgres

NAME = "stashjobs/staging"


class Secrets:
    """The secrets of the stage, as an operator changes them; and a clock to turn."""

    def __init__(self, url: str) -> None:
        self.client: Any = boto3.client("secretsmanager", endpoint_url=url)
        self.now = 1_000_000.0
        self.asked = 0

    def put(self, text: str | dict[str, Any], name: str = NAME) -> None:
        text = text if isinstance(text, str) else json.dumps(text)
        try:
            self.client.put_secret_value(SecretId=name, SecretString=text)
        except self.client.exceptions.ResourceNotFoundException:
            self.client.create_secret(Name=name, SecretString=text)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def secrets(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_SESSION_TOKEN": "session",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": server,
        "SETTINGS_SECRET": NAME,
        "STAGE": "staging",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("RESEND_API_KEY", "QSTASH_TOKEN", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Secrets(server)
    read = secrets_manager.read

    def count(secret_id: str) -> str:
        made.asked += 1
        return read(secret_id)

    monkeypatch.setattr(secrets_manager, "read", count)
    monkeypatch.setattr(stage_secret, "clock", lambda: made.now)
    stage_secret.forget()
    made.put({"RESEND_API_KEY": "re_first"})
    yield made
    stage_secret.forget()
    made.client.close()


def test_a_setting_comes_from_the_secret_which_is_read_once(secrets: Secrets) -> None:
    assert settings.require("RESEND_API_KEY") == "re_first"
    assert settings.optional("SENTRY_DSN") is None
    assert settings.optional("LOG_LEVEL", "INFO") == "INFO"
    assert secrets.asked == 1


def test_the_environment_goes_before_the_secret(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEND_API_KEY", "re_environment")
    assert settings.require("RESEND_API_KEY") == "re_environment"
    assert secrets.asked == 0


def test_the_stage_is_never_asked_of_the_secret(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STAGE")
    assert settings.stage() == "local"
    assert secrets.asked == 0


def test_without_a_secret_nobody_is_asked(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SETTINGS_SECRET")
    assert settings.optional("RESEND_API_KEY") is None
    assert settings.refresh() is False
    assert secrets.asked == 0


def test_a_secret_may_be_named_by_its_arn(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = secrets.client.describe_secret(SecretId=NAME)["ARN"]
    monkeypatch.setenv("SETTINGS_SECRET", arn)
    monkeypatch.delenv("AWS_DEFAULT_REGION")  # the ARN tells the region
    assert settings.require("RESEND_API_KEY") == "re_first"


def test_of_several_secrets_the_first_that_has_a_setting_wins(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.put({"RESEND_API_KEY": "re_other", "FILES_LINK_SECRET": "link"}, "stashjobs/link")
    monkeypatch.setenv("SETTINGS_SECRET", f"{NAME}, stashjobs/link")
    assert settings.require("RESEND_API_KEY") == "re_first"
    assert settings.require("FILES_LINK_SECRET") == "link"
    assert secrets.asked == 2


def test_a_blank_or_a_placeholder_leaves_a_setting_to_the_next_secret(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.put({"BASE_URL": " ", "RESEND_FROM_EMAIL": "REPLACE_ME"})
    secrets.put({"BASE_URL": "https://api", "RESEND_FROM_EMAIL": "a@b.example"}, f"{NAME}/stack")
    monkeypatch.delenv("BASE_URL", raising=False)
    monkeypatch.delenv("RESEND_FROM_EMAIL", raising=False)
    monkeypatch.setenv("SETTINGS_SECRET", f"{NAME},{NAME}/stack")
    assert settings.base_url() == "https://api"
    assert settings.require("RESEND_FROM_EMAIL") == "a@b.example"


def test_the_stacks_own_secret_may_not_be_there_before_the_first_deploy(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SETTINGS_SECRET", f"{NAME},stashjobs/new/stack")
    logging.getLogger("stashjobs").addHandler(caplog.handler)
    assert settings.require("RESEND_API_KEY") == "re_first"
    logging.getLogger("stashjobs").removeHandler(caplog.handler)
    assert "the secret stashjobs/new/stack is not there yet" in caplog.text


def test_a_setting_that_is_json_may_be_written_as_it_is(secrets: Secrets) -> None:
    secrets.put({"WEBHOOK_SOURCES": {"a": {"b": 1}}, "MAX_PAYLOAD_BYTES": 10, "SENTRY_DSN": None})
    assert json.loads(settings.require("WEBHOOK_SOURCES")) == {"a": {"b": 1}}
    assert settings.whole_number("MAX_PAYLOAD_BYTES", 1) == 10
    assert settings.optional("SENTRY_DSN") is None


# --- rotation


def test_a_rotation_takes_effect_when_the_time_to_live_is_over(secrets: Secrets) -> None:
    assert settings.require("RESEND_API_KEY") == "re_first"
    secrets.put({"RESEND_API_KEY": "re_second"})
    secrets.now += 299
    assert settings.require("RESEND_API_KEY") == "re_first"
    secrets.now += 1
    assert settings.require("RESEND_API_KEY") == "re_second"
    assert secrets.asked == 2


def test_the_time_to_live_is_a_setting(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "5")
    assert settings.require("RESEND_API_KEY") == "re_first"
    secrets.put({"RESEND_API_KEY": "re_second"})
    secrets.now += 5
    assert settings.require("RESEND_API_KEY") == "re_second"


@pytest.mark.parametrize("text", ["soon", "-1", "1.5"])
def test_a_time_to_live_that_is_no_number_is_told(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", text)
    with pytest.raises(
        SettingError, match=r"SETTINGS_TTL_SECONDS must be a whole number of seconds"
    ):
        settings.require("RESEND_API_KEY")


def test_a_refresh_asks_at_most_once_in_so_long(secrets: Secrets) -> None:
    """Bad signatures must not each cause a call of Secrets Manager."""
    settings.require("RESEND_API_KEY")
    secrets.put({"RESEND_API_KEY": "re_second"})
    secrets.now += settings.ROTATED_SECONDS - 1
    assert settings.refresh() is False
    assert secrets.asked == 1
    secrets.now += 1
    assert settings.refresh() is True
    assert settings.require("RESEND_API_KEY") == "re_second"
    assert settings.refresh() is False
    assert secrets.asked == 2


def test_keys_that_were_rolled_twice_refuse_no_delivery(
    secrets: Secrets, table: Table, settings: pytest.MonkeyPatch
) -> None:
    """Leaked keys are rolled twice, so neither key that is known signs any more."""
    for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        settings.delenv(name)
    secrets.put({"QSTASH_CURRENT_SIGNING_KEY": "old", "QSTASH_NEXT_SIGNING_KEY": "old-next"})
    job = probe(lambda _payload, _context: None)
    job_id = table.add(job)
    body = json.dumps({"jobId": job_id, "type": job.type}).encode()
    event = http_event(body, {"upstash-signature": sign(body, key=CURRENT_KEY)})
    with pytest.raises(InvalidSignature):
        request.verified_request(event)
    secrets.put({"QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY, "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY})
    secrets.now += 60
    assert handle(job, event).status == 200
    assert table.row(job_id)["status"] == "completed"


def test_a_password_that_was_rotated_is_read_again_at_the_next_connection(
    secrets: Secrets, postgres: Postgres, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSTGRES_URL", raising=False)
    secrets.put({"POSTGRES_URL": database_url})
    database.connection().execute("SELECT 1")
    database.close()
    secrets.put({"POSTGRES_URL": database_url + "&application_name=rotated"})
    monkeypatch.setattr(database, "connect", _refusing(database_url, database.connect))
    with pytest.raises(psycopg.OperationalError):
        database.connection()  # too soon after the last reading
    secrets.now += 60
    assert database.connection().execute("SELECT 1").fetchone() == (1,)


def _refusing(url: str, connect: Any) -> Any:
    def wrong_password(given: str) -> Any:
        if given == url:
            raise psycopg.OperationalError("password authentication failed")
        return connect(given)

    return wrong_password


# --- what goes wrong


def test_what_is_known_is_kept_while_secrets_manager_is_away(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("stashjobs").addHandler(caplog.handler)
    settings.require("RESEND_API_KEY")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    secrets.now += 400
    assert settings.require("RESEND_API_KEY") == "re_first"
    assert settings.require("RESEND_API_KEY") == "re_first"
    assert secrets.asked == 2  # not by every use
    logging.getLogger("stashjobs").removeHandler(caplog.handler)
    assert "cannot be read again, those of 400 s ago are used" in caplog.text
    assert "127.0.0.1:1 cannot be reached" in caplog.text


def test_a_secret_that_was_never_read_is_an_error_and_asked_for_again_after_a_pause(
    secrets: Secrets, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    for read in (settings.require, settings.optional):
        with pytest.raises(
            SettingError,
            match=rf"RESEND_API_KEY is not in the environment, and the secret {NAME} .*"
            r"127.0.0.1:1 cannot be reached.*docs/settings.md",
        ):
            read("RESEND_API_KEY")
    assert secrets.asked == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server)
    secrets.now += stage_secret.PAUSE_SECONDS
    assert settings.require("RESEND_API_KEY") == "re_first"


def test_a_secret_that_is_not_there_is_named(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETTINGS_SECRET", "stashjobs/nowhere")
    with pytest.raises(SettingError, match=r"stashjobs/nowhere .*ResourceNotFoundException"):
        settings.require("RESEND_API_KEY")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"RESEND_API_KEY": "re_very_secret",}', "is not JSON"),
        ("RESEND_API_KEY=re_very_secret", "is not JSON"),
        ('["re_very_secret"]', "not an object"),
    ],
)
def test_a_malformed_secret_is_told_and_not_shown(secrets: Secrets, text: str, reason: str) -> None:
    secrets.put(text)
    with pytest.raises(SettingError, match=rf"{NAME}.*{reason}.*docs/settings.md") as refused:
        settings.require("RESEND_API_KEY")
    assert "very_secret" not in str(refused.value)


def test_a_setting_that_the_secret_lacks_names_itself_and_the_secret(secrets: Secrets) -> None:
    with pytest.raises(
        SettingError, match=rf"QSTASH_TOKEN is not set. Put it in the secret {NAME} .*settings.md"
    ):
        settings.require("QSTASH_TOKEN")


def test_a_placeholder_counts_as_missing_and_is_told_as_what_it_is(secrets: Secrets) -> None:
    secrets.put({"QSTASH_TOKEN": "REPLACE_ME"})
    assert settings.optional("QSTASH_TOKEN") is None
    with pytest.raises(
        SettingError,
        match=rf"QSTASH_TOKEN is still the placeholder REPLACE_ME in the secret {NAME}",
    ) as refused:
        settings.require("QSTASH_TOKEN")
    assert "REPLACE_ME" in redaction.redact(str(refused.value))


def test_a_placeholder_in_the_environment_is_one_too(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSTASH_TOKEN", "REPLACE_ME")
    with pytest.raises(SettingError, match="placeholder REPLACE_ME in the environment"):
        settings.require("QSTASH_TOKEN")


def test_a_setting_of_the_secret_is_taken_out_of_the_log_too(secrets: Secrets) -> None:
    assert settings.require("RESEND_API_KEY") == "re_first"
    assert redaction.redact("sent with re_first") == "sent with [RESEND_API_KEY]"


def test_the_log_neither_waits_for_the_secret_nor_fails_with_it(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    assert redaction.redact("some words") == "some words"
    assert secrets.asked == 0
