"""The job is published in the same request, without a long wait for an absent QStash."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from functions.webhooks import handler as module
from stashjobs.testing.qstash import serving
from tests.integration.webhooks.conftest import send

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.deliveries import Table


def test_qstash_is_told_at_the_function_s_own_url(
    table: Table, settings: pytest.MonkeyPatch, use_qstash: Callable[[str], None]
) -> None:
    settings.setenv("FUNCTION_URL_PROCESS_WEBHOOK", "https://own.lambda-url.example/")
    with serving() as qstash:
        use_qstash(qstash.url)
        answer = send("github", {})
    [message] = qstash.messages
    assert message["destination"] == "https://own.lambda-url.example/api/jobs/webhook"
    assert table.row(answer.document["jobId"])["published_at"] is not None


def test_an_event_that_is_sent_again_is_not_published_again(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    with serving() as qstash:
        use_qstash(qstash.url)
        for _ in range(2):
            send("resend", {"type": "email.sent"})
    assert len(qstash.messages) == 1


def test_without_qstash_the_event_is_recorded_all_the_same(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    use_qstash("http://127.0.0.1:9")
    answer = send("github", {})
    assert answer.status == 200
    assert table.row(answer.document["jobId"])["published_at"] is None


def test_only_one_sender_in_so_long_waits_for_a_qstash_that_is_away(
    table: Table, settings: pytest.MonkeyPatch, use_qstash: Callable[[str], None]
) -> None:
    with serving() as qstash:
        qstash.status = 500
        use_qstash(qstash.url)
        send("github", {})
        asked = len(qstash.received)
        assert asked > 0
        assert send("github", {"n": 2}).status == 200
        assert len(qstash.received) == asked

        qstash.status = 200
        settings.setattr(module, "_left_to_relay_until", time.time() - 1)
        send("github", {"n": 3})
        assert len(qstash.received) == asked + 1
    assert len(table.rows()) == 3
