"""What an export's payload must look like, and what is said about one that does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from functions.export_data.entities import ENTITIES
from functions.export_data.handler import export_data
from functions.export_data.models import Export
from functions.send_email.file_ready import readable_size
from stashjobs import InvalidPayload


def reason(**payload: Any) -> str:
    with pytest.raises(InvalidPayload) as caught:
        export_data.read_payload({"entity": "executions", **payload})
    [only] = caught.value.reasons
    return only


def test_the_example_is_valid_and_survives_the_journey_to_the_row() -> None:
    export = export_data.read_payload(export_data.example())
    assert export_data.read_payload(export_data.dump_payload(export)) == export
    assert export.filters["createdFrom"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_wrong_column_is_named_and_the_right_ones_listed() -> None:
    said = reason(columns=["jobId", "passwrod; DROP TABLE users"])
    assert "'passwrod; DROP TABLE users' is no column of executions; there are: jobId, " in said


def test_a_column_twice_is_refused() -> None:
    assert reason(columns=["jobId", "jobId"]) == "columns: 'jobId' is given twice"


def test_a_wrong_filter_is_named() -> None:
    assert "'secret' is no filter of executions; there are: jobType" in reason(
        filters={"secret": "x"}
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("createdFrom", "2026-01-01T00:00:00", "timezone"),
        ("createdFrom", "yesterday", "datetime"),
        ("status", [], "at least 1 item"),
        ("status", {"a": 1}, "valid list"),
        ("status", [1], "valid string"),
    ],
)
def test_a_filter_s_value_has_its_kind(name: str, value: Any, problem: str) -> None:
    said = reason(filters={name: value})
    assert f"filters.{name}: " in said
    assert problem in said


def test_an_unknown_entity_format_and_expiry_are_refused() -> None:
    assert "'users' is no entity; there are: executions, " in reason(entity="users")
    assert "'csv', 'xlsx' or 'jsonl'" in reason(format="xls")
    assert "168" in reason(linkHours=169)


def test_one_text_stands_for_a_list() -> None:
    assert Export(entity="executions", filters={"status": "failed"}).filters == {
        "status": ["failed"]
    }


@pytest.mark.parametrize("name", ENTITIES)
def test_what_may_hold_secrets_is_exported_only_when_asked_for(name: str) -> None:
    usual = Export(entity=name).chosen_columns
    assert usual
    assert not {"payload", "result", "errors", "metadata", "idempotencyKey", "link"} & set(usual)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_000, "1.0 kB"), (999_950, "1.0 MB")],
)
def test_a_size_in_words(size: int, words: str) -> None:
    assert readable_size(size) == words
