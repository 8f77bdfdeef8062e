"""A file of prices that cannot be calculated with: it says so, and what of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from stashjobs.tools import costs
from stashjobs.tools.cli import main

if TYPE_CHECKING:
    from pathlib import Path

PRICES = costs.PRICES.read_text()


def with_line(name: str, line: str) -> str:
    """The prices that come along, but for one line."""
    changed, count = re.subn(rf"^{name} = .*$", line, PRICES, count=1, flags=re.MULTILINE)
    assert count == 1, name
    return changed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_line("worker_load", "worker_load = 0"), "worker_load is 0; it must be more"),
        (with_line("worker_concurrency", "worker_concurrency = 0.0"), "worker_concurrency is 0"),
        (with_line("job_types", "job_types = 0"), "job_types is 0; it must be more"),
        (with_line("secret_seconds", "secret_seconds = 0"), "secret_seconds is 0; it must be more"),
        (with_line("small_memory", "small_memory = 0"), "small_memory is 0; it must be more"),
        (with_line("cold_share", ""), "has no cold_share"),
        (with_line("cold_share", 'cold_share = "few"'), "cold_share is 'few'; it must be a number"),
        (with_line("cold_share", "cold_share = true"), "cold_share is True; it must be a number"),
        (with_line("cold_share", "cold_share = -0.1"), "cold_share is -0.1; it must be a number"),
        (with_line("cold_share", "cold_share = nan"), "cold_share is nan; it must be a number"),
        (with_line("usd", 'usd = "cheap"'), "prices.qstash_message.usd is 'cheap'; it must be"),
        (with_line("usd", ""), "has no prices.qstash_message.usd"),
        ("prices = 1", "has no "),
        ("[prices]\nqstash_message = 1", "has no "),
        ("[prices", "prices.toml: "),
    ],
)
def test_what_is_wrong_in_a_file_of_prices_is_wrong_use_and_named(
    tmp_path: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", "local")
    file = tmp_path / "my-prices.toml"
    file.write_text(text)
    ran = CliRunner().invoke(main, ["cost", "--jobs-per-month", "1000", "--prices", str(file)])
    assert (ran.exit_code, words in ran.output) == (2, True), ran.output
    assert str(file) in ran.output
    assert "stashjobs dev" not in ran.output
