"""The encrypted format and the keys, byte by byte."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import Any

import pytest

from stashjobs import EncryptionError, PermanentError, SettingError, encryption
from stashjobs.encryption import Place, decrypt, encrypt, is_encrypted, parse_keys
from stashjobs.errors import InvalidPayload
from stashjobs.observability import redaction

PLACE = Place("0192f0c1-0000-7000-8000-000000000001", "send-email", "payload")
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER_KEY = base64.b64encode(bytes(reversed(range(32)))).decode()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYLOAD_KEYS", f"2026-11:{KEY},2026-05:{OTHER_KEY}")


def with_changed(document: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"$sealed": document["$sealed"] | fields}


# ------------------------------------------------------------------ the format


def test_the_vector_in_the_documentation_is_decrypted() -> None:
    document = {
        "$sealed": {
            "v": 1,
            "kid": "2026-11",
            "nonce": "AAECAwQFBgcICQoL",
            "data": "PCCidOff4HrpINfuyYgVHe-zqVefFn0Bp4Tb8HY8gB4YqGdHFQGSNg",
        }
    }
    assert decrypt(document, PLACE) == {"to": "ada@example.com"}


def test_the_associated_data_are_these_bytes() -> None:
    assert PLACE.associated_data("2026-11") == (
        b"stashjobs sealed v1\x00payload\x002026-11\x00send-email\x00"
        b"0192f0c1-0000-7000-8000-000000000001"
    )


def test_the_first_key_encrypts() -> None:
    assert encrypt({}, PLACE)["$sealed"]["kid"] == "2026-11"


def test_every_key_decrypts(monkeypatch: pytest.MonkeyPatch) -> None:
    document = encrypt("x", PLACE)
    monkeypatch.setenv("PAYLOAD_KEYS", f"2026-05:{OTHER_KEY},2026-11:{KEY}")
    assert decrypt(document, PLACE) == "x"


def test_no_two_encryptions_have_the_same_nonce() -> None:
    assert len({encrypt({}, PLACE)["$sealed"]["nonce"] for _ in range(1000)}) == 1000


def test_encryption_anew_changes_the_key_and_not_the_plaintext(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = encrypt({"n": 1}, PLACE)
    monkeypatch.setenv("PAYLOAD_KEYS", f"2026-05:{OTHER_KEY},2026-11:{KEY}")
    after = encryption.reencrypt(before, PLACE)
    assert after["$sealed"]["kid"] == "2026-05"
    assert decrypt(after, PLACE) == {"n": 1}


@pytest.mark.parametrize("plain", ["$sealed", ["$sealed"], {"a": {"$sealed": {}}}, None, 1, {}])
def test_only_an_object_with_the_mark_is_encrypted(plain: Any) -> None:
    assert not is_encrypted(plain)
    encryption.refuse_mark("probe", plain)


def test_a_plain_payload_with_the_mark_is_refused() -> None:
    with pytest.raises(InvalidPayload, match=r"\$sealed: this name is reserved"):
        encryption.refuse_mark("probe", {"$sealed": "anything"})


# ------------------------------------------------------------- what cannot be decrypted


@pytest.mark.parametrize(
    "place",
    [
        Place("another", PLACE.job_type, "payload"),
        Place(PLACE.job_id, "another", "payload"),
        Place(PLACE.job_id, PLACE.job_type, "result"),
    ],
)
def test_what_was_encrypted_for_another_place_is_refused(place: Place) -> None:
    with pytest.raises(
        EncryptionError, match="encrypted for another job, another type or another purpose"
    ):
        decrypt(encrypt({}, PLACE), place)


def test_an_unknown_key_is_named_together_with_those_there_are() -> None:
    document = with_changed(encrypt({}, PLACE), kid="2020-01")
    with pytest.raises(
        EncryptionError, match=r"key 2020-01, which is not in PAYLOAD_KEYS"
    ) as caught:
        decrypt(document, PLACE)
    assert "(there: 2026-11, 2026-05)" in str(caught.value)
    assert isinstance(caught.value, PermanentError)


def test_another_key_under_the_same_id_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    document = encrypt({}, PLACE)
    monkeypatch.setenv("PAYLOAD_KEYS", f"2026-11:{OTHER_KEY}")
    with pytest.raises(EncryptionError, match="cannot be decrypted with the key 2026-11"):
        decrypt(document, PLACE)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "the one member"),
        ({"$sealed": {}, "more": 1}, "the one member"),
        ({"$sealed": "x"}, "not exactly"),
        ({"$sealed": {"v": 1}}, "not exactly"),
        (with_changed({"$sealed": {}}, v=1, kid="a", nonce="", data="", more=1), "not exactly"),
    ],
)
def test_a_malformed_document_is_refused(document: Any, words: str) -> None:
    with pytest.raises(EncryptionError, match=words):
        decrypt(document, PLACE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"v": "1"}, "version"),
        ({"kid": None}, "kid is not a key id"),
        ({"kid": "a b"}, "kid is not a key id"),
        ({"nonce": 12}, "nonce is not 12 bytes"),
        ({"nonce": "AAAA"}, "nonce is not 12 bytes"),
        ({"nonce": "AAECAwQFBgcICQoL\n"}, "nonce is not 12 bytes"),
        ({"data": None}, "data is not base64url"),
        ({"data": "AAAA"}, "is truncated"),
        ({"data": "ä"}, "data is not base64url"),
        ({"data": "A"}, "data is not base64url"),
    ],
)
def test_a_malformed_member_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(EncryptionError, match=words):
        decrypt(with_changed(encrypt({}, PLACE), **fields), PLACE)


def test_an_encrypted_text_that_is_no_json_is_refused_without_showing_it() -> None:
    document = encryption._encrypt(b"not json: marker", encryption.keys().current, PLACE)
    with pytest.raises(EncryptionError, match="the plaintext is not JSON") as caught:
        decrypt(document, PLACE)
    assert "marker" not in redaction.describe_error(caught.value)["traceback"]


# ------------------------------------------------------------------ PAYLOAD_KEYS


@pytest.mark.parametrize(
    "text",
    [
        f"a:{KEY}",
        f" a:{KEY} , b:{OTHER_KEY} ",
        f"a:{KEY.rstrip('=')}",
        f"a:{base64.urlsafe_b64encode(b'?' * 32).decode()}",
        f"{'x' * 32}:{KEY}",
    ],
)
def test_keys_are_read(text: str) -> None:
    keys = parse_keys(text)
    assert len(keys.current.secret) == 32
    assert next(iter(keys.by_id)) == keys.current.id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KEY, "entry 1 does not begin with a key id and a colon"),
        (f"{KEY}:a", "entry 1 does not begin with a key id"),
        (f":{KEY}", "entry 1 does not begin with a key id"),
        (f"a:{KEY},", "entry 2 does not begin with a key id"),
        (f"a b:{KEY}", "entry 1 does not begin with a key id"),
        (f"{'x' * 33}:{KEY}", "entry 1 does not begin with a key id"),
        (f"a:{KEY[4:]}", "the key of a is not 32 bytes"),
        (f"a:{KEY}{KEY}", "the key of a is not 32 bytes"),
        (f"a:{base64.b64encode(b'k' * 31).decode()}", "the key of a is not 32 bytes"),
        (f"a:{base64.b64encode(b'k' * 33).decode()}", "the key of a is not 32 bytes"),
        (f"a:{bytes(32).hex()}", "the key of a is not 32 bytes"),
        (f"a:{KEY},a:{OTHER_KEY}", "the key id a appears twice"),
        (f"a:{KEY},b:{KEY}", "b and another id have the same key"),
    ],
)
def test_malformed_keys_are_refused_without_showing_one(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        parse_keys(text)
    shown = str(caught.value)
    assert KEY[:12] not in shown
    assert OTHER_KEY[:12] not in shown
    assert "a2tra2" not in shown


def test_missing_keys_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAYLOAD_KEYS")
    with pytest.raises(SettingError, match="PAYLOAD_KEYS is not set"):
        encrypt({}, PLACE)


def test_a_key_does_not_show_itself() -> None:
    assert repr(encryption.keys().current) == "Key(id='2026-11')"


def test_a_single_key_is_taken_out_of_texts() -> None:
    assert redaction.redact(f"oh: {KEY}!") == "oh: [PAYLOAD_KEYS]!"


def test_a_new_entry_is_a_random_key() -> None:
    entries = {encryption.new_entry("a") for _ in range(100)}
    assert len({parse_keys(entry).current.secret for entry in entries}) == 100


def test_without_cryptography_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(SettingError, match=r"install stashjobs\[encryption\]"):
        encrypt({}, PLACE)


def test_reading_keys_and_marks_does_not_import_cryptography() -> None:
    program = (
        "import sys, stashjobs.delivery.handler, stashjobs.producer.enqueue\n"
        "import stashjobs.encryption as s\n"
        "s.keys(), s.is_encrypted({}), s.new_entry('a')\n"
        "assert 'cryptography' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
