"""Sealed documents: whatever is sealed opens at its place, and nothing else opens."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashjobs import SealError
from stashjobs.sealing import Place, seal, unseal

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
def test_what_is_sealed_opens_at_its_place(document: Any, place: Place) -> None:
    through_postgres = json.loads(json.dumps(seal(document, place)))
    assert unseal(through_postgres, place) == document


@given(documents, places, st.sampled_from(["nonce", "data"]), st.data())
def test_one_flipped_bit_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    sealed = seal(document, place)
    content = as_bytes(sealed["$sealed"][member])
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    sealed["$sealed"][member] = as_text(content)
    with pytest.raises(SealError):
        unseal(sealed, place)


@given(documents, places, st.sampled_from(["nonce", "data", "kid"]), st.data())
def test_one_changed_character_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    """Also one in the bits that base64 does not use: a document has one spelling."""
    sealed = seal(document, place)
    text = sealed["$sealed"][member]
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda char: char != text[index]))
    sealed["$sealed"][member] = text[:index] + other + text[index + 1 :]
    with pytest.raises(SealError):
        unseal(sealed, place)


@given(documents, places, st.sampled_from(["nonce", "data"]), st.data())
def test_a_shorter_or_longer_one_is_refused(
    document: Any, place: Place, member: str, data: st.DataObject
) -> None:
    sealed = seal(document, place)
    content = as_bytes(sealed["$sealed"][member])
    size = data.draw(st.integers(0, len(content) - 1))
    longer = data.draw(st.booleans())
    changed = content + os.urandom(size + 1) if longer else content[:size]
    sealed["$sealed"][member] = as_text(changed)
    with pytest.raises(SealError):
        unseal(sealed, place)


@given(documents, places, places)
def test_a_swapped_one_is_refused(document: Any, place: Place, other: Place) -> None:
    sealed = seal(document, place)
    if other == place:
        assert unseal(sealed, other) == document
        return
    with pytest.raises(SealError):
        unseal(sealed, other)


@given(places, places)
def test_two_places_never_have_the_same_associated_data(one: Place, other: Place) -> None:
    assert (one == other) == (one.associated_data("k") == other.associated_data("k"))


@given(documents, places)
def test_the_other_keys_id_is_refused(document: Any, place: Place) -> None:
    sealed = seal(document, place)
    sealed["$sealed"]["kid"] = "old"
    with pytest.raises(SealError):
        unseal(sealed, place)


@given(documents, places)
def test_whatever_stands_in_place_of_a_sealed_document_is_refused(
    document: Any, place: Place
) -> None:
    for disguised in (document, {"$sealed": document}):
        with pytest.raises(SealError):
            unseal(disguised, place)
