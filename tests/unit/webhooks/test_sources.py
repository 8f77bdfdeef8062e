"""Secrets, and where an event's name and id are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from functions.webhooks.custom_sources import read
from functions.webhooks.sources import GITHUB, RESEND, Place, Source, Unreadable
from stashjobs.errors import SettingError

BASE64_SOURCE = json.dumps(
    {
        "acme": {
            "secret": "ACME_WEBHOOK_SECRET",
            "secretEncoding": "base64",
            "header": "webhook-signature",
            "event": {"path": "type"},
        }
    }
)


def test_secrets_of_a_rotation_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "the-first-one, the-second-one")
    assert GITHUB.keys() == [b"the-first-one", b"the-second-one"]


def test_svix_s_secret_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"the first secret!", b"the other secret!!"]
    secrets = ",".join(f"whsec_{base64.b64encode(key).decode()}" for key in keys)
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", secrets)
    assert RESEND.keys() == keys
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", secrets.replace("=", ""))
    assert RESEND.keys() == keys


@pytest.mark.parametrize("source", [RESEND, read(BASE64_SOURCE)["acme"]], ids=str)
@pytest.mark.parametrize("secret", ["whsec_AAAA", "whsec_", "AAAAAAAA", "whsec_" + "A" * 20])
def test_a_key_that_could_be_guessed_is_none(
    monkeypatch: pytest.MonkeyPatch, source: Source, secret: str
) -> None:
    monkeypatch.setenv(source.secret_setting, secret)
    with pytest.raises(SettingError, match=f"{source.secret_setting} has a .* of less than"):
        source.keys()


def test_a_missing_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WEBHOOK_SECRET", raising=False)
    with pytest.raises(SettingError, match="GITHUB_WEBHOOK_SECRET is not set"):
        GITHUB.keys()


@pytest.mark.parametrize("value", ["short", "x,a-long-enough-secret", "a-long-enough-secret,"])
def test_half_of_a_secret_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A comma in a secret would otherwise make its shorter half one that can be guessed."""
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", value)
    with pytest.raises(SettingError, match="less than 8 characters") as error:
        GITHUB.keys()
    assert "a-long-enough" not in str(error.value)


def test_a_secret_that_is_not_base64_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESEND_WEBHOOK_SECRET", "whsec_not base64!")
    with pytest.raises(SettingError, match="RESEND_WEBHOOK_SECRET is not Base64") as error:
        RESEND.keys()
    assert "not base64!" not in str(error.value)


BODY = {"id": "evt_1", "number": 7, "deep": {"er": "x"}, "list": ["x"], "true": True}


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Place("header", "x-id"), "from the header"),
        (Place("path", "id"), "evt_1"),
        (Place("path", "number"), "7"),
        (Place("path", "deep.er"), "x"),
    ],
)
def test_names_are_found(place: Place, name: str) -> None:
    assert place.read({"x-id": "from the header"}, BODY) == name


@pytest.mark.parametrize(
    ("place", "headers"),
    [
        (Place("header", "x-id"), {}),
        (Place("header", "x-id"), {"x-id": ""}),
        (Place("header", "x-id"), {"x-id": "x" * 256}),
        (Place("header", "x-id"), {"x-id": "a\tb"}),
        (Place("path", "nothing"), {}),
        (Place("path", "deep"), {}),
        (Place("path", "id.more"), {}),
        (Place("path", "list"), {}),
        (Place("path", "true"), {}),
    ],
)
def test_what_is_no_name_is_refused(place: Place, headers: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=place.name):
        place.read(headers, BODY)
