"""QStash, Resend, Stripe and the deployed API: each check both ways, over HTTP."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from functions.process_stripe_webhook.handler import EVENTS
from infra.local.mailbox.resend_rules import RefusedError
from stashjobs.config import qstash_region
from stashjobs.config import settings as stashjobs_settings
from stashjobs.producer import qstash_client, schedules
from stashjobs.producer.schedules import Schedule
from stashjobs.tools.doctor import clock, email, qstash, stripe, web
from stashjobs.tools.doctor.finding import Check, Level, Verdict, run
from tests.conftest import CURRENT_KEY, NEXT_KEY
from tests.deliveries import probe
from tests.qstash_servers import qstash_running
from tests.stripe_server import StripeServer, stripe_serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.mailbox import Mailbox
    from infra.local.qstash import QStashServer
    from tests.integration.doctor.conftest import Site


def level_of(look: Callable[[], Verdict]) -> Level:
    """As the report has it: an error is a finding."""
    return run([[Check("it", look)]])[0].level


# --- QStash


@pytest.fixture
def server(request: pytest.FixtureRequest) -> QStashServer:
    found: QStashServer = request.getfixturevalue("qstash")
    return found


def test_qstashs_own_signing_keys_are_green(server: QStashServer) -> None:
    assert level_of(qstash.signing_keys) == Level.GREEN


@pytest.mark.parametrize(
    ("current", "following", "level"),
    [
        (CURRENT_KEY, NEXT_KEY, Level.RED),
        (None, NEXT_KEY, Level.YELLOW),
        (None, None, Level.GREEN),
        (CURRENT_KEY, None, Level.RED),
    ],
)
def test_other_signing_keys_are_found(
    server: QStashServer,
    settings: pytest.MonkeyPatch,
    current: str | None,
    following: str | None,
    level: Level,
) -> None:
    settings.setenv("QSTASH_CURRENT_SIGNING_KEY", current or server.current_signing_key)
    settings.setenv("QSTASH_NEXT_SIGNING_KEY", following or server.next_signing_key)
    assert level_of(qstash.signing_keys) == level


def test_a_token_that_qstash_does_not_know_is_red(
    server: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("QSTASH_TOKEN", "a-token-of-another-account")
    assert level_of(qstash.signing_keys) == Level.RED


def test_a_token_of_another_region_is_told_from_a_wrong_one(
    server: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    with qstash_running() as elsewhere:
        regions = {"EU_CENTRAL_1": server.url, "US_EAST_1": elsewhere.url}
        settings.setattr(qstash_region, "REGIONS", regions)
        settings.setenv("STAGE", "staging")
        settings.setenv("QSTASH_TOKEN", elsewhere.token)
        found = qstash.signing_keys()
        assert "belongs to the region US_EAST_1" in found.what
        assert elsewhere.url in found.next
        settings.setenv("QSTASH_TOKEN", "a-token-of-nobody")
        assert "does not know the token" in qstash.signing_keys().what


def test_schedules_are_compared_with_those_in_code(
    server: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    wanted = [Schedule("nightly", probe(), "0 3 * * *", "UTC", {})]
    settings.setattr(schedules, "declared", lambda: wanted)
    assert level_of(qstash.schedules_in_step) == Level.RED
    schedules.sync(wanted)
    assert level_of(qstash.schedules_in_step) == Level.GREEN
    qstash_client.qstash().schedule.pause(wanted[0].schedule_id)
    assert level_of(qstash.schedules_in_step) == Level.YELLOW
    settings.setattr(schedules, "declared", list)
    assert level_of(qstash.schedules_in_step) == Level.YELLOW


def test_a_dead_letter_is_yellow(server: QStashServer, site: Site) -> None:
    assert level_of(qstash.dead_letters) == Level.GREEN
    qstash_client.qstash().message.publish(url=f"{site.url}/refused", body="{}", retries=0)
    until = time.monotonic() + 60
    while level_of(qstash.dead_letters) == Level.GREEN:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert level_of(qstash.dead_letters) == Level.YELLOW


@pytest.mark.parametrize(
    ("url", "level"),
    [
        (None, Level.GREEN),
        ("https://qstash-eu-central-1.upstash.io", Level.GREEN),
        ("https://upstash.io.attacker.net", Level.RED),
        ("http://qstash.upstash.io", Level.RED),
    ],
)
def test_production_speaks_to_upstash(
    production: pytest.MonkeyPatch, url: str | None, level: Level
) -> None:
    if url is not None:
        production.setenv("QSTASH_URL", url)
    assert qstash.address().level == level


# --- Resend


def test_a_verified_domain_is_green(mailbox: Mailbox) -> None:
    assert level_of(email.sender_is_verified) == Level.GREEN


def test_a_domain_that_resend_does_not_know_is_red(
    mailbox: Mailbox, production: pytest.MonkeyPatch
) -> None:
    """The mailbox has verified the sender of its own process's settings, which is this one."""
    real = stashjobs_settings.require
    production.setattr(
        stashjobs_settings,
        "require",
        lambda name: "a@elsewhere.io" if name == "RESEND_FROM_EMAIL" else real(name),
    )
    assert level_of(email.sender_is_verified) == Level.RED
    production.setenv("STAGE", "local")
    assert level_of(email.sender_is_verified) == Level.GREY


def test_a_key_that_resend_does_not_know_is_red(mailbox: Mailbox) -> None:
    mailbox.api_key = "re_another"
    assert level_of(email.sender_is_verified) == Level.RED


def test_a_key_that_may_only_send_is_not_held_against_anybody(
    mailbox: Mailbox, settings: pytest.MonkeyPatch
) -> None:
    def refuse(_request: Any) -> None:
        raise RefusedError(
            401, "This API key is restricted to only send emails", "restricted_api_key"
        )

    settings.setattr(mailbox, "_authorize", refuse)
    assert level_of(email.sender_is_verified) == Level.GREY


@pytest.mark.parametrize(
    ("status", "level"),
    [("verified", Level.GREEN), ("pending", Level.YELLOW), ("failed", Level.RED)],
)
def test_the_state_of_the_domain_decides(status: str, level: Level) -> None:
    assert email._judge("acme-inc.com", status).level == level


def test_resend_and_stripe_out_of_reach_are_red(production: pytest.MonkeyPatch) -> None:
    for name in ("RESEND_API_URL", "STRIPE_API_BASE"):
        production.setenv(name, "http://127.0.0.1:9")
    for look in (email.sender_is_verified, stripe.webhook_endpoint):
        [finding] = run([[Check("it", look)]])
        assert (finding.level, "cannot be reached" in finding.what) == (Level.RED, True)


# --- Stripe


@pytest.fixture
def account(production: pytest.MonkeyPatch) -> Iterator[StripeServer]:
    with stripe_serving() as server:
        production.setenv("STRIPE_API_BASE", server.url)
        yield server


def endpoints(account: StripeServer, **changes: Any) -> None:
    """Have one endpoint, as it should be but for the changes."""
    found = {
        "id": "we_1",
        "object": "webhook_endpoint",
        "status": "enabled",
        "url": "https://jobs.acme-inc.com/api/webhooks/stripe",
        "enabled_events": sorted(stripe.EVENTS),
    }
    document = {"object": "list", "url": "/v1/webhook_endpoints", "has_more": False}
    account.objects["webhook_endpoints"] = document | {"data": [found | changes]}


def test_the_events_are_those_that_the_job_acts_on() -> None:
    assert stripe.EVENTS == EVENTS


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, Level.GREEN),
        ({"enabled_events": ["*"]}, Level.GREEN),
        ({"enabled_events": ["invoice.paid"]}, Level.RED),
        ({"status": "disabled"}, Level.RED),
        ({"url": "https://elsewhere.acme-inc.com/api/webhooks/stripe"}, Level.RED),
    ],
)
def test_the_webhook_endpoint_is_here_and_sends_what_is_needed(
    account: StripeServer, changes: dict[str, Any], level: Level
) -> None:
    endpoints(account, **changes)
    assert level_of(stripe.webhook_endpoint) == level


@pytest.mark.parametrize(
    ("status", "level"), [(401, Level.RED), (403, Level.GREY), (500, Level.RED)]
)
def test_a_key_that_stripe_refuses(account: StripeServer, status: int, level: Level) -> None:
    account.fail(status, times=3)
    assert level_of(stripe.webhook_endpoint) == level


# --- the deployed API


def test_an_api_that_answers_is_green(site: Site) -> None:
    assert level_of(web.alive) == Level.GREEN


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_one_that_is_not_well_is_red(site: Site, path: str) -> None:
    site.statuses[path] = 503
    assert level_of(web.alive) == Level.RED


def test_one_that_is_not_there_is_red(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("BASE_URL", "http://127.0.0.1:9")
    assert level_of(web.alive) == Level.RED


def test_a_route_that_takes_unsigned_calls_is_red(site: Site, settings: pytest.MonkeyPatch) -> None:
    settings.setattr(web, "declared", lambda: [probe()])
    assert level_of(web.signatures_are_verified) == Level.GREEN
    site.statuses["/api/jobs/probe"] = 200
    assert level_of(web.signatures_are_verified) == Level.RED


@pytest.mark.parametrize("status", [429, 503])
def test_a_route_that_is_only_busy_is_yellow(
    site: Site, settings: pytest.MonkeyPatch, status: int
) -> None:
    settings.setattr(web, "declared", lambda: [probe(), probe(type="other")])
    site.statuses["/api/jobs/probe"] = site.statuses["/api/jobs"] = status
    assert level_of(web.signatures_are_verified) == Level.YELLOW
    assert level_of(web.api_needs_a_token) == Level.YELLOW
    site.statuses["/api/jobs/other"] = 200
    assert level_of(web.signatures_are_verified) == Level.RED


@pytest.mark.parametrize(
    ("stage", "url", "level"),
    [
        ("local", None, Level.GREY),
        ("production", None, Level.YELLOW),
        ("production", "https://probe.lambda-url.eu-central-1.on.aws/", Level.GREEN),
    ],
)
def test_a_job_that_outlives_api_gateway_is_to_have_a_url_of_its_own(
    settings: pytest.MonkeyPatch, stage: str, url: str | None, level: Level
) -> None:
    settings.setattr(web, "declared", lambda: [probe(timeout=120)])
    settings.setenv("STAGE", stage)
    settings.delenv("SETTINGS_SECRET", raising=False)
    if url is not None:
        settings.setenv("FUNCTION_URL_PROBE", url)
    assert level_of(web.long_jobs_have_urls) == level


def test_an_api_that_asks_for_no_token_is_red(site: Site) -> None:
    assert level_of(web.api_needs_a_token) == Level.GREEN
    site.statuses["/api/jobs"] = 200
    assert level_of(web.api_needs_a_token) == Level.RED


def test_the_clock_of_the_api_is_compared(site: Site) -> None:
    assert level_of(clock.of_the_api) == Level.GREEN
    site.date = formatdate(time.time() - 60, usegmt=True)
    assert level_of(clock.of_the_api) == Level.RED


def test_the_clock_of_the_function_counts_and_not_that_of_api_gateway(site: Site) -> None:
    behind = datetime.now(UTC) - timedelta(minutes=2)
    site.bodies["/livez"] = json.dumps({"status": "ok", "now": behind.isoformat()})
    assert level_of(clock.of_the_api) == Level.RED
    site.bodies["/livez"] = json.dumps({"status": "ok", "now": datetime.now(UTC).isoformat()})
    site.date = formatdate(time.time() - 60, usegmt=True)
    assert level_of(clock.of_the_api) == Level.GREEN
