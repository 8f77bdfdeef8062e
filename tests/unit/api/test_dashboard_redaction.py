"""What a page of the dashboard hides, and that what it hid comes back unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.api.dashboard.redaction import (
    HIDDEN,
    CannotRestore,
    error_kind,
    excerpt,
    is_secret,
    mask,
    mask_text,
    restore,
)

NAMES = st.sampled_from(["name", "password", "apiKey", "url", "items", "token", "text", "card"])
TEXTS = st.sampled_from(["", "plain", "https://a.test/?token=abc&n=1", "Bearer abcdefghijkl", "ü"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


SECRET = [
    "password", "Password", "userPassword", "reset_token", "resetToken", "tokens", "API_KEY",
    "apiKey", "client-secret", "Authorization", "x-authorization", "cardNumber", "card", "cvc",
    "privateKey", "resetUrl", "set-cookie", "sessionId", "otp", "inviteUrl",
]  # fmt: skip


def test_these_names_are_secret() -> None:
    assert [name for name in SECRET if not is_secret(name)] == []


HARMLESS = [
    "name", "author", "cardinality", "discard", "keyboard", "key", "url", "logoUrl", "opinion",
    "ping", "shipping", "primaryKey", "idempotencyKey", "secretary", "tokenizer", "", "1", "ü",
]  # fmt: skip


def test_these_names_are_not() -> None:
    assert [name for name in HARMLESS if is_secret(name)] == []


def test_what_is_empty_is_shown_as_empty() -> None:
    assert mask({"token": None, "card": {}, "password": ""}) == {
        "token": None,
        "card": {},
        "password": "",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.test/?token=abc&n=1#x", f"https://a.test/?token={HIDDEN}&n=1#x"),
        (
            "https://a.test/?n=1&X-Amz-Signature=ab12",
            f"https://a.test/?n=1&X-Amz-Signature={HIDDEN}",
        ),
        ("postgres://me:pass@db/x", f"postgres://me:{HIDDEN}@db/x"),
        ("sent Authorization: Bearer eyJhbGciOi", f"sent Authorization: Bearer {HIDDEN}"),
        ("Invalid API key: sk_live_abcdefgh1234", f"Invalid API key: {HIDDEN}"),
        ("a basic idea", "a basic idea"),
        ("sub_1PqWn2eZvKYlo2C is missing", "sub_1PqWn2eZvKYlo2C is missing"),
    ],
)
def test_a_secret_is_told_by_its_form_too(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@given(VALUES)
def test_what_is_not_edited_comes_back_as_it_was(document: object) -> None:
    assert restore(mask(document), document) == document


def test_the_rest_may_be_edited_where_nothing_hidden_is_left() -> None:
    original = {"a": 1, "token": "abc", "list": [{"card": "4242"}]}
    edited = {"a": 2, "token": "new", "list": [{"b": 1}]}
    assert restore(edited, original) == edited


@pytest.mark.parametrize(
    ("edited", "place"),
    [
        ({"other": HIDDEN}, "payload.other"),
        ({"a": 2, "token": HIDDEN, "link": "x"}, "payload.token"),
        ({"token": HIDDEN}, "payload.token"),
        ({"a": HIDDEN}, "payload.a"),
        ([HIDDEN], r"payload\[0\]"),
        ({"link": f"https://b.test/?token={HIDDEN}"}, "payload.link"),
    ],
)
def test_a_hidden_value_goes_nowhere_else(edited: object, place: str) -> None:
    original = {"a": 1, "token": "abc", "link": "https://a.test/?token=abc"}
    with pytest.raises(CannotRestore, match=place):
        restore(edited, original)


def test_an_error_is_masked_before_it_is_cut() -> None:
    for padding in range(280, 300):
        error = "x" * padding + " sk_live_abcdefghijklmnop was refused"
        assert "sk_live" not in excerpt(error)
    assert len(excerpt("word " * 200)) == 300


def test_the_kind_of_an_error_is_a_word_to_look_for_and_no_secret() -> None:
    assert error_kind("TimeoutError: away: really") == "TimeoutError"
    assert error_kind("refused sk_live_abcdefghijklmnop again") == "refused"
    assert error_kind("y" * 75 + " sk_live_abcdefghijklmnop") == "y" * 75
    assert error_kind("z" * 200) == "z" * 80
