"""The secrets of a local stack, and that none gets into a log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from infra.local.stack import WEBHOOK_SECRETS, load_secrets
from stashjobs.observability.redaction import redact

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_are_made_once(tmp_path: Path) -> None:
    made = load_secrets(tmp_path)
    assert made.keys() >= set(WEBHOOK_SECRETS)
    assert load_secrets(tmp_path) == made


def test_a_home_from_before_keeps_its_secrets_and_gets_the_new_ones(tmp_path: Path) -> None:
    before = {"QSTASH_TOKEN": "local_of_before"}
    (tmp_path / "secrets.json").write_text(json.dumps(before))
    kept = load_secrets(tmp_path)
    assert kept["QSTASH_TOKEN"] == "local_of_before"
    assert kept.keys() >= set(WEBHOOK_SECRETS)
    assert load_secrets(tmp_path) == kept


@pytest.mark.parametrize("name", WEBHOOK_SECRETS)
def test_each_secret_of_a_rotation_is_taken_out_of_what_is_logged(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "first-secret, second-secret")
    assert redact("of first-secret and second-secret") == f"of [{name}] and [{name}]"
