"""A mailbox in a thread of its own, and the settings that lead to it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.mailbox import Mailbox
from stashjobs import Context
from tests.loops import running_in_a_thread


@pytest.fixture(scope="session")
def _shared_mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    with running_in_a_thread(mailbox):
        yield mailbox


@pytest.fixture
def mailbox(_shared_mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    _shared_mailbox.clear()
    _shared_mailbox.api_key = _shared_mailbox.rate_limit = None
    for name in ("APP_NAME", "APP_URL", "SUPPORT_EMAIL", "LOGO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESEND_API_URL", _shared_mailbox.url)
    monkeypatch.setenv("RESEND_API_KEY", "re_secret_of_the_test")
    monkeypatch.setenv("RESEND_FROM_EMAIL", "Acme <hello@acme.example>")
    return _shared_mailbox


@pytest.fixture
def context() -> Callable[..., Context]:
    def make(job_id: str = "job-1", attempt: int = 1, seconds: float = 30) -> Context:
        return Context(
            job_id=job_id,
            job_type="send-email",
            attempt=attempt,
            max_attempts=4,
            deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        )

    return make
