"""`WEBHOOK_SOURCES`, read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.webhooks import custom_sources
from functions.webhooks.schemes import HmacScheme
from functions.webhooks.sources import Place
from stashjobs.errors import SettingError

LEAST: dict[str, Any] = {"secret": "A_SECRET", "header": "X-Signature", "event": {"path": "type"}}


def read(**members: Any) -> Any:
    return custom_sources.read(json.dumps({"acme": LEAST | members}))["acme"]


def test_the_least_that_can_be_said() -> None:
    source = read()
    assert source.scheme == HmacScheme(header="x-signature")
    assert (source.secret_setting, source.secret_is_base64) == ("A_SECRET", False)
    assert (source.event, source.id) == (Place("path", "type"), None)


def test_all_that_can_be_said() -> None:
    source = read(
        algorithm="sha512",
        prefix="v1,",
        encoding="base64",
        secretEncoding="base64",
        timestampHeader="X-Time",
        signed="{id}.{timestamp}.{body}",
        tolerance=30,
        event={"header": "X-Event"},
        id={"header": "X-Id"},
    )
    assert source.scheme == HmacScheme(
        header="x-signature",
        algorithm="sha512",
        prefix="v1,",
        encoding="base64",
        signed="{id}.{timestamp}.{body}",
        timestamp_header="x-time",
        id_header="x-id",
        tolerance=30,
    )
    assert source.secret_is_base64 is True
    assert (source.event, source.id) == (Place("header", "x-event"), Place("header", "x-id"))


def test_a_time_is_signed_before_the_body_unless_said_otherwise() -> None:
    assert read(timestampHeader="X-Time").scheme.signed == "{timestamp}.{body}"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"colour": "red", "smell": "none"}, "colour, smell: there is no such member"),
        ({"secret": "whsec_the secret itself"}, "secret must be the name of the setting"),
        ({"header": "X Signature"}, "header is 'X Signature'; it must be the name of a header"),
        ({"algorithm": "md5"}, "algorithm is 'md5'; it must be sha256 or sha512 or sha1"),
        ({"encoding": ["hex"]}, "encoding is ['hex']; it must be hex or base64"),
        ({"secretEncoding": "hex"}, "secretEncoding is 'hex'"),
        ({"prefix": 1}, "prefix is 1; it must be text"),
        ({"timestampHeader": ""}, "timestampHeader is ''; it must be the name of a header"),
        ({"signed": "{timestamp}.{body}"}, "timestampHeader and {timestamp} in signed go together"),
        ({"timestampHeader": "X", "signed": "{body}"}, "a time that is not signed"),
        ({"signed": "{id}.{body}"}, "{id} in signed needs an id that is in a header"),
        ({"signed": "nothing"}, "text with {body} in it, once"),
        ({"signed": "{body}{body}"}, "text with {body} in it, once"),
        ({"tolerance": 0}, "tolerance is 0; it must be more than 0 seconds"),
        ({"tolerance": "300"}, "tolerance is '300'"),
        ({"event": "type"}, 'event must be {"header": "X-Name"} or {"path"'),
        ({"event": {"path": "a..b"}}, "event must be"),
        ({"event": {"path": "a", "header": "b"}}, "event must be"),
        ({"id": {"header": ""}}, "id is ''; it must be the name of a header"),
    ],
)
def test_what_is_wrong_is_said_with_the_source_and_the_member(
    members: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SettingError) as error:
        read(**members)
    assert str(error.value).startswith("WEBHOOK_SOURCES: acme: ")
    assert reason in str(error.value)
    assert "the secret itself" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"Acme": {}}', "lower case"),
        ('{"stripe": {}}', "built in"),
        ('{"acme": []}', "its members must be a JSON object"),
        ('{"acme": {"secret": "A"}}', "event, header must be there"),
    ],
)
def test_what_is_no_list_of_sources(text: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        custom_sources.read(text)


def test_without_the_setting_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBHOOK_SOURCES", raising=False)
    assert custom_sources.find("acme") is None
