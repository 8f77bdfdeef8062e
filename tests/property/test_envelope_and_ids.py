"""Properties of what travels: envelopes, ids, and any JSON a payload may be."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as checking
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

import stashjobs
from stashjobs import Context, InvalidPayload, envelope
from stashjobs.envelope import Envelope
from stashjobs.errors import InvalidEnvelope
from stashjobs.ids import job_id_from, new_job_id
from stashjobs.observability.redaction import describe_error
from stashjobs.producer.enqueue import prepare
from stashjobs.producer.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.tools.servers.postgres import Postgres

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
good_text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


def json_of(text: st.SearchStrategy[str], *, finite: bool) -> st.SearchStrategy[Any]:
    floats = st.floats(allow_nan=not finite, allow_infinity=not finite)
    leaves = st.none() | st.booleans() | st.integers() | floats | text
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=12,
    )


good_json = json_of(good_text, finite=True)
any_json = json_of(any_text, finite=False)


@stashjobs.job("property-any", endpoint="/any")
def any_job(payload: Any, _context: Context) -> None:
    """Takes anything."""


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A session that only ever sees a temporary table, like `job_executions` in what it holds."""
    with psycopg.connect(postgres.url, autocommit=True) as opened:
        opened.execute("CREATE TEMPORARY TABLE held (payload jsonb NOT NULL)")
        yield opened


# ------------------------------------------------------------------ envelopes


@given(
    job_id=good_text.filter(bool) | st.none(),
    job_type=good_text.filter(bool),
    payload=good_json,
    metadata=st.dictionaries(good_text, good_json, max_size=4),
)
def test_an_envelope_is_read_as_it_was_written(
    job_id: str | None, job_type: str, payload: Any, metadata: dict[str, Any]
) -> None:
    document = {"jobId": job_id, "type": job_type, "payload": payload, "metadata": metadata}
    for ascii_only in (True, False):
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        assert envelope.read(body) == Envelope(
            job_type, job_id, has_payload=True, payload=payload, metadata=metadata
        )


@given(job_type=good_text.filter(bool))
def test_a_thin_envelope_has_no_payload(job_type: str) -> None:
    job_id = new_job_id()
    body = json.dumps(envelope.thin(job_id, job_type)).encode()
    assert envelope.read(body) == Envelope(
        job_type, job_id, has_payload=False, payload=None, metadata={}
    )


@given(body=st.binary(max_size=60) | any_json.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with contextlib.suppress(InvalidEnvelope):
        assert envelope.read(body).job_type


@given(document=any_json)
def test_a_refusal_never_repeats_what_was_sent(document: Any) -> None:
    marked = {"type": "x", "payload": ["\0", "never-repeated", document]}
    with pytest.raises(InvalidEnvelope) as refusal:
        envelope.read(json.dumps(marked).encode())
    assert "never-repeated" not in str(refusal.value)


# ------------------------------------------------------------------ rows


def same(sent: Any, kept: Any) -> bool:
    """Equal, where `jsonb` keeps a float's shortest decimal: 1e22 comes back as an integer, which
    is the same float again."""
    if isinstance(sent, float) and not isinstance(kept, bool):
        return float(kept) == sent
    if isinstance(sent, list):
        return len(sent) == len(kept) and all(map(same, sent, kept))
    if isinstance(sent, dict):
        return sent.keys() == kept.keys() and all(same(sent[key], kept[key]) for key in sent)
    return type(sent) is type(kept) and sent == kept


@checking(deadline=None)
@given(payload=any_json)
def test_any_payload_can_be_stored_or_is_refused(
    connection: psycopg.Connection[Any], payload: Any
) -> None:
    try:
        new = prepare(any_job, payload, Options())
    except InvalidPayload:
        with pytest.raises((psycopg.Error, ValueError)):  # and rightly so
            connection.execute("INSERT INTO held VALUES (%s)", [Jsonb(payload)])
        return
    with connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO held VALUES (%s)", [Jsonb(new.payload)])
        row = connection.execute("SELECT payload FROM held").fetchone()
    assert row is not None
    assert same(payload, row[0])


@checking(deadline=None)
@given(message=any_text)
def test_any_error_can_be_stored(connection: psycopg.Connection[Any], message: str) -> None:
    details = describe_error(ValueError(message))
    with connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO held VALUES (%s)", [Jsonb(details)])
        connection.execute("SELECT %s::text", [details["message"]])


# ------------------------------------------------------------------ ids


def test_ids_are_valid_uuids_of_version_7_and_only_grow() -> None:
    ids = [new_job_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    for each in ids[::500]:
        parsed = uuid.UUID(each)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert str(parsed) == each


@given(sources=st.sets(good_text, min_size=2, max_size=5))
def test_an_id_from_a_source_is_always_the_same_and_never_anothers(sources: set[str]) -> None:
    ids = {job_id_from(source) for source in sources}
    assert len(ids) == len(sources)
    assert ids == {job_id_from(source) for source in sources}
    assert all(uuid.UUID(each).version == 5 for each in ids)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"type": "t", "metadata": {"a": "x" * 64_000}}, "metadata has 64009 bytes"),
        ({"type": "t", "metadata": json.loads('{"a":' * 65 + "1" + "}" * 65)}, "66 levels"),
        ({"type": "t", "payload": json.loads("[" * 65 + "]" * 65)}, "66 levels"),
    ],
)
def test_a_message_that_is_too_deep_or_too_large_is_none(document: object, why: str) -> None:
    with pytest.raises(InvalidEnvelope, match=why):
        envelope.from_document(document)
