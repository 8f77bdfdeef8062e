"""create-notification over the whole local system: enqueue, deliver, record, list."""

from pathlib import Path

import pytest

from functions.create_notification import notifications
from functions.create_notification.handler import create_notification
from infra.local.gateway import Delivery
from stashjobs.store import database
from tests.stacks import as_an_app, ended, local_stack

BURST = 60


async def test_enqueued_delivered_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch):
        enqueued = await as_an_app(
            lambda: create_notification.enqueue(
                create_notification.example(), organization_id="o_1"
            )
        )
        done = await ended(enqueued.job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        assert done.result == {"recipients": 2, "created": 2}
        page = await as_an_app(
            lambda: notifications.list_for_user(database.connection(), "u_2", unread_only=True)
        )
        [shown] = page.notifications
        assert (shown.title, shown.organization_id) == ("Exports are here", "o_1")


async def test_a_burst_is_held_back_and_none_of_it_is_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen times as many as the function has processes (docs/usage.md, "Many at once")."""
    answers: list[int] = []

    def note(delivery: Delivery) -> None:
        if delivery.path == create_notification.endpoint:
            answers.append(delivery.status)

    async with local_stack(tmp_path, monkeypatch, on_delivery=note):
        hello = create_notification.example()
        enqueued = await as_an_app(lambda: create_notification.enqueue_many([hello] * BURST))
        done = [await ended(one.job_id) for one in enqueued]

    assert [(one.status, one.attempt) for one in done] == [("completed", 1)] * BURST
    assert answers == [200] * BURST
