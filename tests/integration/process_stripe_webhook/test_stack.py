"""process-stripe-webhook over the whole local system, with Stripe's stand-in and the mailbox."""

import asyncio
from pathlib import Path

import pytest
import stripe

from functions.create_notification import notifications
from functions.process_stripe_webhook.handler import process_stripe_webhook
from stashjobs.store import database
from tests.stacks import as_an_app, ended, local_stack


async def job_ids(job_type: str, *, count: int = 1) -> list[str]:
    """The jobs of a type, the oldest first, once there are so many."""
    async with asyncio.timeout(120):
        while True:
            found = await as_an_app(
                lambda: (
                    database.connection()
                    .execute(
                        "SELECT job_id FROM job_executions WHERE job_type = %s ORDER BY created_at",
                        [job_type],
                    )
                    .fetchall()
                )
            )
            if len(found) >= count:
                return [job_id for (job_id,) in found]
            await asyncio.sleep(0.1)


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

        [email] = await job_ids("send-email")
        assert (await ended(email)).status == "completed"
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
        [_, by_webhook] = await job_ids("process-stripe-webhook", count=2)
        assert (await ended(by_webhook)).result["status"] == "canceled"
        for told in await job_ids("create-notification", count=2):
            assert (await ended(told)).status == "completed"
        page = await as_an_app(lambda: notifications.list_for_user(database.connection(), "u_1"))
        assert {each.type for each in page.notifications} == {
            "subscription-started",
            "subscription-ended",
        }
