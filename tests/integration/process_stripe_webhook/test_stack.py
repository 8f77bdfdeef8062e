"""process-stripe-webhook over the whole local system, with Stripe's stand-in and the mailbox."""

import asyncio
from pathlib import Path

import pytest
import stripe

from functions.create_notification import notifications
from functions.process_stripe_webhook.handler import process_stripe_webhook
from stashjobs import database, lookup
from tests.stacks import as_an_app, ended, local_stack


def jobs(job_type: str) -> list[lookup.JobExecution]:
    return lookup.recent(database.connection(), job_type=job_type)


async def test_the_example_tells_the_customer_and_a_cancellation_comes_by_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch) as stack:
        enqueued = await as_an_app(
            lambda: process_stripe_webhook.enqueue(process_stripe_webhook.example())
        )
        done = await ended(enqueued.job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        assert done.result["status"] == "active"
        assert done.result["notes"] == []

        [email] = await as_an_app(lambda: jobs("send-email"))
        assert (await ended(email.job_id)).status == "completed"
        [mail] = stack.mailbox.mails
        assert (mail.to, mail.subject) == (
            ["ada@example.com"],
            "Your stashjobs Team plan is active",
        )

        client = stripe.StripeClient(
            stack.environment["STRIPE_SECRET_KEY"], base_addresses={"api": stack.urls["stripe"]}
        )
        await as_an_app(lambda: client.v1.subscriptions.cancel("sub_example"))
        # The stand-in sends its events a second later.
        while len(received := await as_an_app(lambda: jobs("process-stripe-webhook"))) < 2:
            await asyncio.sleep(0.1)
        by_webhook = next(each for each in received if each.job_id != enqueued.job_id)
        assert (await ended(by_webhook.job_id)).result["status"] == "canceled"
        for told in await as_an_app(lambda: jobs("create-notification")):
            assert (await ended(told.job_id)).status == "completed"
        page = await as_an_app(lambda: notifications.list_for_user(database.connection(), "u_1"))
        assert {each.type for each in page.notifications} == {
            "subscription-started",
            "subscription-ended",
        }
