"""QStash's regions: which account publishes, and whose signatures are accepted."""

from __future__ import annotations

import pytest

from stashjobs.config import qstash_region
from stashjobs.errors import SettingError

NAMES = ("TOKEN", "URL", "CURRENT_SIGNING_KEY", "NEXT_SIGNING_KEY")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QSTASH_REGION", raising=False)
    for prefix in ("", *(f"{region}_" for region in qstash_region.REGIONS)):
        for name in NAMES:
            monkeypatch.delenv(f"{prefix}QSTASH_{name}", raising=False)


def test_without_a_region_it_is_the_plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_TOKEN", "token")
    monkeypatch.setenv("US_EAST_1_QSTASH_TOKEN", "of-the-us")
    assert qstash_region.account() == ("https://qstash.upstash.io", "token")
    monkeypatch.setenv("QSTASH_URL", "https://qstash-us-east-1.upstash.io")
    assert qstash_region.account().url == "https://qstash-us-east-1.upstash.io"


@pytest.mark.parametrize("name", ["US_EAST_1", "us-east-1"])
def test_a_region_publishes_with_its_own_token(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("QSTASH_REGION", name)
    monkeypatch.setenv("QSTASH_TOKEN", "of-europe")
    monkeypatch.setenv("QSTASH_URL", "https://qstash.upstash.io")
    monkeypatch.setenv("US_EAST_1_QSTASH_TOKEN", "of-the-us")
    assert qstash_region.account() == ("https://qstash-us-east-1.upstash.io", "of-the-us")
    monkeypatch.setenv("US_EAST_1_QSTASH_URL", "https://other.upstash.io")
    assert qstash_region.account().url == "https://other.upstash.io"


def test_a_region_without_a_token_uses_the_plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_REGION", "US_EAST_1")
    monkeypatch.setenv("QSTASH_TOKEN", "token")
    assert qstash_region.account() == ("https://qstash-us-east-1.upstash.io", "token")


def test_an_unknown_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSTASH_REGION", "MARS_1")
    monkeypatch.setenv("QSTASH_TOKEN", "token")
    with pytest.raises(SettingError, match="EU_CENTRAL_1 or US_EAST_1"):
        qstash_region.account()


@pytest.mark.parametrize("missing", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
@pytest.mark.parametrize("prefix", ["", "US_EAST_1_"])
def test_both_signing_keys_are_needed(
    monkeypatch: pytest.MonkeyPatch, prefix: str, missing: str
) -> None:
    monkeypatch.setenv(f"{prefix}QSTASH_CURRENT_SIGNING_KEY", "current")
    monkeypatch.setenv(f"{prefix}QSTASH_NEXT_SIGNING_KEY", "next")
    assert qstash_region.signing_keys() == ("current", "next")
    monkeypatch.delenv(prefix + missing)
    with pytest.raises(SettingError, match=missing):
        qstash_region.signing_keys()


def test_without_any_signing_key_the_plain_one_is_asked_for() -> None:
    with pytest.raises(SettingError, match=r"^QSTASH_CURRENT_SIGNING_KEY"):
        qstash_region.signing_keys()


def test_the_keys_of_every_region_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, word in {"": "plain", "EU_CENTRAL_1_": "europe", "US_EAST_1_": "us"}.items():
        monkeypatch.setenv(f"{prefix}QSTASH_CURRENT_SIGNING_KEY", f"{word}-current")
        monkeypatch.setenv(f"{prefix}QSTASH_NEXT_SIGNING_KEY", f"{word}-next")
    assert qstash_region.signing_keys() == (
        "plain-current",
        "plain-next",
        "europe-current",
        "europe-next",
        "us-current",
        "us-next",
    )
