"""Settings: a missing one names itself, a secret one is never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stashjobs.config import settings as stash_settings
from stashjobs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_setting_names_itself_and_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setenv("STAGE", "staging")
    monkeypatch.delenv("RESEND_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("RESEND_API_KEY", value)
    with pytest.raises(SettingError, match=r"RESEND_API_KEY is not set.*stashjobs/staging"):
        stash_settings.require("RESEND_API_KEY")
    assert stash_settings.optional("RESEND_API_KEY") is None
    assert stash_settings.optional("RESEND_API_KEY", "other") == "other"


def test_blanks_around_a_value_are_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_TOKEN", " token\n")
    assert stash_settings.require("QSTASH_TOKEN") == "token"


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "1_000", "٣", "0x10"])
def test_a_count_is_a_whole_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MAX_PAYLOAD_BYTES", value)
    with pytest.raises(
        SettingError, match=r"^MAX_PAYLOAD_BYTES must be a whole number of 0 or more\.$"
    ):
        stash_settings.whole_number("MAX_PAYLOAD_BYTES", 1)


def test_a_count_that_is_not_set_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAX_PAYLOAD_BYTES", raising=False)
    assert stash_settings.whole_number("MAX_PAYLOAD_BYTES", 7) == 7
    monkeypatch.setenv("MAX_PAYLOAD_BYTES", "0")
    assert stash_settings.whole_number("MAX_PAYLOAD_BYTES", 7) == 0


def test_the_stage_is_local_where_nobody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGE", raising=False)
    assert stash_settings.stage() == "local"


@pytest.mark.parametrize(
    ("name", "read", "value"),
    [
        ("POSTGRES_URL", stash_settings.postgres_url, "mysql://u:secret-word@h/d"),
        ("POSTGRES_URL", stash_settings.postgres_url, "host=h password=secret-word"),
        ("BASE_URL", stash_settings.base_url, "jobs.example.com"),
        ("BASE_URL", stash_settings.base_url, "ftp://jobs.example.com"),
    ],
)
def test_a_url_of_the_wrong_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[[], str], value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=name) as refusal:
        read()
    assert "secret-word" not in str(refusal.value)


@pytest.mark.parametrize(
    "value", ["https://x.example/", "https://x.example", "https://x.example//"]
)
def test_the_base_url_ends_without_a_slash(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BASE_URL", value)
    assert stash_settings.base_url() == "https://x.example"
