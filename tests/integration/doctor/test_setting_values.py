"""Settings: there, of the right shape, and none of a developer's."""

from __future__ import annotations

import pytest

from stashjobs import encryption
from stashjobs.tools.doctor import setting_values
from stashjobs.tools.doctor.finding import Level, Verdict

BY_NAME = {shape.name: shape for shape in setting_values.SHAPES}


def shape_of(name: str) -> Verdict:
    return setting_values.has_right_shape(BY_NAME[name])


@pytest.mark.parametrize("name", sorted(name for name, shape in BY_NAME.items() if shape.needed))
def test_production_settings_are_of_the_right_shape(
    production: pytest.MonkeyPatch, name: str
) -> None:
    assert shape_of(name).level == Level.GREEN


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - {"STAGE"}))
def test_a_setting_of_another_shape_is_red_and_not_shown(
    production: pytest.MonkeyPatch, name: str
) -> None:
    production.setenv(name, "some thing")
    verdict = shape_of(name)
    assert verdict.level == Level.RED
    assert "some thing" not in verdict.what + verdict.next


@pytest.mark.parametrize(
    "name", sorted(name for name, shape in BY_NAME.items() if shape.needed and name != "STAGE")
)
def test_a_missing_setting_is_red_and_says_where_it_belongs(
    production: pytest.MonkeyPatch, name: str
) -> None:
    production.delenv(name)
    verdict = shape_of(name)
    assert (verdict.level, verdict.what) == (Level.RED, "not set")
    assert "stashjobs/production" in verdict.next


def test_a_webhook_secret_that_is_rotated_has_two_values(production: pytest.MonkeyPatch) -> None:
    production.setenv("STRIPE_WEBHOOK_SECRET", "whsec_0123456789, whsec_abcdefghij")
    assert shape_of("STRIPE_WEBHOOK_SECRET").level == Level.GREEN


def test_an_optional_setting_may_be_absent(production: pytest.MonkeyPatch) -> None:
    assert shape_of("SENTRY_DSN").level == Level.GREY


def test_production_has_nothing_of_development(production: pytest.MonkeyPatch) -> None:
    assert setting_values.has_nothing_of_development().level == Level.GREEN


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("STRIPE_SECRET_KEY", "sk_test_0123456789", "a test key"),
        ("STRIPE_SECRET_KEY", "rk_test_0123456789", "a test key"),
        ("BASE_URL", "http://localhost:3000", "a local address"),
        ("BASE_URL", "https://127.0.0.1", "a local address"),
        ("BASE_URL", "https://yourapp.example.com", "an example"),
        ("POSTGRES_URL", "postgresql://u:p@[::1]:5432/d", "a local address"),
        ("POSTGRES_URL", "postgresql://u:p@host.docker.internal/d", "a local address"),
        ("QSTASH_URL", "http://127.0.0.1:8080", "a local address"),
        ("QSTASH_TOKEN", setting_values.QSTASH_DEV_TOKEN, "the local stack's"),
        ("QSTASH_TOKEN", "local_0123456789abcdef", "the local stack's"),
        ("QSTASH_TOKEN", "your_production_token", "a placeholder"),
        ("RESEND_API_KEY", "re_local_0123456789", "the local stack's"),
        ("RESEND_API_URL", "http://mailbox:8702", "an address other than the official one"),
        ("STRIPE_API_BASE", "http://stripe:8705", "an address other than the official one"),
        ("RESEND_FROM_EMAIL", "Acme <jobs@example.com>", "an example address"),
        ("RESEND_FROM_EMAIL", "onboarding@resend.dev", "an example address"),
        ("ADMIN_TOKEN", "sj_local_0123456789", "the local stack's"),
    ],
)
def test_a_development_credential_in_production_is_red(
    production: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    if name != "POSTGRES_URL":
        production.setenv("POSTGRES_URL", "postgresql://u:p@10.0.0.7:5432/d")
    production.setenv(name, value)
    verdict = setting_values.has_nothing_of_development()
    assert (verdict.level, verdict.what) == (Level.RED, f"{name} is {why}")


@pytest.fixture(autouse=True)
def _a_postgres_elsewhere(production: pytest.MonkeyPatch) -> None:
    """The tests' own server is at 127.0.0.1, which is what is looked for."""
    production.setenv("POSTGRES_URL", "postgresql://user:secret@10.0.0.7:5432/jobs")


@pytest.mark.parametrize(
    ("key", "level"), [("sk_test_0123456789", Level.GREEN), ("sk_live_0123456789", Level.YELLOW)]
)
def test_staging_has_the_test_key_of_stripe(
    production: pytest.MonkeyPatch, key: str, level: Level
) -> None:
    production.setenv("STAGE", "staging")
    production.setenv("STRIPE_SECRET_KEY", key)
    assert setting_values.has_nothing_of_development().level == level


@pytest.mark.parametrize(
    ("token", "level"), [(None, Level.GREEN), ("x" * 40, Level.YELLOW), ("short", Level.RED)]
)
def test_the_admin_token_is_for_the_first_start(
    production: pytest.MonkeyPatch, token: str | None, level: Level
) -> None:
    if token is not None:
        production.setenv("ADMIN_TOKEN", token)
    assert setting_values.has_good_admin_token().level == level


def test_payload_keys_are_read_and_not_shown(production: pytest.MonkeyPatch) -> None:
    entry = encryption.new_entry("2026-11")
    production.setenv("PAYLOAD_KEYS", entry)
    verdict = setting_values.has_payload_keys()
    assert verdict.level == Level.GREEN
    assert entry.partition(":")[2] not in verdict.what


@pytest.mark.parametrize(
    ("url", "level"), [("https://jobs.acme-inc.com", Level.GREEN), ("http://acme", Level.RED)]
)
def test_production_is_reached_over_https(
    production: pytest.MonkeyPatch, url: str, level: Level
) -> None:
    production.setenv("BASE_URL", url)
    assert setting_values.base_url_is_https().level == level
