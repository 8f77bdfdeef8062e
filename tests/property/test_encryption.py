"""Encrypted documents: they are decrypted at their place and nowhere else."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashjobs import EncryptionError
from stashjobs.encryption import Place, decrypt, encrypt

KEYS = f"new:{base64.b64encode(b'n' * 32).decode()},old:{base64.b64encode(b'o' * 32).decode()}"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, width=64) | texts
documents = st.recursive(
    scalars.filter(lambda value: value not in {float("inf"), float("-inf")}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
places = st.builds(
    Place,
    job_id=texts.filter(bool),
    job_type=texts.filter(bool),
    purpose=st.sampled_from(["payload", "result"]),
)


@pytest.fixture(autouse=True, scope="module")
def _keys() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAYLOAD_KEYS", KEYS)
        yield


def as_bytes(text: str) -> bytearray:
    return bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def as_text(data: bytes | bytearray) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(documents, places)
def test_what_is_encrypted_is_decrypted_at_its_place(document: Any, place: Place) -> None:
    through_postgres = json.loads(json.dumps(encrypt(document, place)))
    assert decrypt(through_postgres, place) == document


@given(documents, places, st.sampled_from(["nonce", "data"]), st.data())
def test_one_flipped_bit_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    encrypted = encrypt(document, place)
    content = as_bytes(encrypted["$sealed"][member])
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    encrypted["$sealed"][member] = as_text(content)
    with pytest.raises(EncryptionError):
        decrypt(encrypted, place)


@given(documents, places, st.sampled_from(["nonce", "data", "kid"]), st.data())
def test_one_changed_character_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    """Also one in the bits that base64 does not use: a document has one spelling."""
    encrypted = encrypt(document, place)
    text = encrypted["$sealed"][member]
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda char: char != text[index]))
    encrypted["$sealed"][member] = text[:index] + other + text[index + 1 :]
    with pytest.raises(EncryptionError):
        decrypt(encrypted, place)


@given(documents, places, st.sampled_from(["nonce", "data"]), st.data())
def test_a_shorter_or_longer_one_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    encrypted = encrypt(document, place)
    content = as_bytes(encrypted["$sealed"][member])
    size = data.draw(st.integers(0, len(content) - 1))
    longer = data.draw(st.booleans())
    changed = content + os.urandom(size + 1) if longer else content[:size]
    encrypted["$sealed"][member] = as_text(changed)
    with pytest.raises(EncryptionError):
        decrypt(encrypted, place)


@given(documents, places, places)
def test_a_swapped_one_is_refused(document: Any, place: Place, other: Place) -> None:
    encrypted = encrypt(document, place)
    if other == place:
        assert decrypt(encrypted, other) == document
        return
    with pytest.raises(EncryptionError):
        decrypt(encrypted, other)


@given(places, places)
def test_two_places_never_have_the_same_associated_data(one: Place, other: Place) -> None:
    assert (one == other) == (one.associated_data("k") == other.associated_data("k"))


@given(documents, places)
def test_the_other_keys_id_is_refused(document: Any, place: Place) -> None:
    encrypted = encrypt(document, place)
    encrypted["$sealed"]["kid"] = "old"
    with pytest.raises(EncryptionError):
        decrypt(encrypted, place)


@given(documents, places)
def test_whatever_stands_in_place_of_an_encrypted_document_is_refused(
    document: Any, place: Place
) -> None:
    for disguised in (document, {"$sealed": document}):
        with pytest.raises(EncryptionError):
            decrypt(disguised, place)
