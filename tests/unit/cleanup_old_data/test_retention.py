"""Days become cutoffs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.cleanup_old_data.handler import cleanup_old_data
from functions.cleanup_old_data.models import Cleanup
from functions.cleanup_old_data.retention import Retention
from stashjobs import InvalidPayload, job

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


def test_the_example_and_the_schedule_s_payload_are_valid() -> None:
    for payload in (cleanup_old_data.example(), {"retention": 90}, {}):
        cleanup = cleanup_old_data.read_payload(payload)
        assert cleanup_old_data.read_payload(cleanup_old_data.dump_payload(cleanup)) == cleanup
        assert cleanup.retention == 90


@pytest.mark.parametrize(
    "payload",
    [{"retention": 0}, {"perType": {"send-email": -1}}, {"retentoin": 90}, {"batchRows": 0}],
)
def test_a_clean_up_that_would_delete_everything_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        cleanup_old_data.read_payload(payload)


def test_a_payload_goes_before_a_declaration() -> None:
    cleanup = Cleanup(retention=90, per_type={"a": 10})
    found = Retention.of(cleanup, {"a": 20, "b": 100}, NOW)
    assert found.by_type == {"a": NOW - timedelta(days=10), "b": NOW - timedelta(days=100)}
    assert found.parameters["newest_cutoff"] == NOW - timedelta(days=10)
    assert found.idempotency_keys is None


def test_a_type_declares_its_retention_in_whole_days() -> None:
    with pytest.raises(ValueError, match="retention is 0 days"):
        job("kept-for-no-time", endpoint="/x", retention=0)


def test_types_that_may_be_those_of_a_handler_that_cannot_be_imported_stay() -> None:
    cleanup = Cleanup(retention=90, per_type={"c": 10})
    found = Retention.of(cleanup, {"a": 20, "b": None}, NOW, all_known=False)
    assert found.by_type["b"] == NOW - timedelta(days=90)
    assert found.others.year == 1
    assert found.parameters["newest_cutoff"] == NOW - timedelta(days=10)
    assert found.cutoff == NOW - timedelta(days=90)  # the access log's
