"""The job, through Resend's real SDK, over real HTTP."""

import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.send_email.handler import send_email
from functions.send_email.models import TEMPLATES, Email
from functions.send_email.resend_api import ResendUnavailableError, StandardClient
from infra.local.mailbox import Mailbox
from stashjobs import Context, DeadlineNear, PermanentError, RetryLater, SettingError, Snooze

Contexts = Callable[..., Context]


def email(name: str = "welcome", **changes: Any) -> Email:
    data = TEMPLATES[name].example()
    return Email.model_validate(
        {"to": "ada@example.com", "template": name, "data": data, **changes}
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_arrives_with_html_and_text(
    mailbox: Mailbox, context: Contexts, name: str
) -> None:
    sent = send_email(email(name), context())
    (mail,) = mailbox.mails
    assert (mail.id, mail.to, mail.subject) == (sent.email_id, sent.to, sent.subject)
    assert mail.sender == "Acme <hello@acme.example>"
    assert mail.tags == {"template": name, "job_id": "job-1"}
    assert mail.html
    assert mail.text


def test_everything_that_was_asked_for_arrives(mailbox: Mailbox, context: Contexts) -> None:
    wanted = email(
        to=["ada@example.com", "Bob <bob@example.com>"],
        cc="cc@example.com",
        bcc="bcc@example.com",
        replyTo="reply@example.com",
        subject="Grüße",
        tags={"campaign": "spring"},
    )
    send_email(wanted, context())
    (mail,) = mailbox.mails
    assert mail.to == ["ada@example.com", "Bob <bob@example.com>"]
    assert (mail.cc, mail.bcc) == (["cc@example.com"], ["bcc@example.com"])
    assert mail.reply_to == ["reply@example.com"]
    assert mail.subject == "Grüße"
    assert mail.tags == {"campaign": "spring", "template": "welcome", "job_id": "job-1"}


def test_a_job_id_that_no_tag_can_have_is_left_out(mailbox: Mailbox, context: Contexts) -> None:
    send_email(email(), context(job_id="node:1/é"))
    (mail,) = mailbox.mails
    assert mail.tags == {"template": "welcome"}


def test_the_result_is_camel_case_on_the_wire(mailbox: Mailbox, context: Contexts) -> None:
    sent = send_email(email(), context()).model_dump(mode="json", by_alias=True)
    assert sent == {
        "emailId": mailbox.mails[0].id,
        "to": ["ada@example.com"],
        "subject": "Welcome to Acme, Ada Lovelace",
    }


def test_the_settings_name_the_product_and_who_helps(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_NAME", "Analytical Engine")
    monkeypatch.setenv("SUPPORT_EMAIL", "help@acme.example")
    send_email(email(), context())
    (mail,) = mailbox.mails
    assert mail.subject == "Welcome to Analytical Engine, Ada Lovelace"
    assert mail.reply_to == ["help@acme.example"]
    assert "help@acme.example" in (mail.text or "")


def test_the_same_job_twice_gives_one_email(mailbox: Mailbox, context: Contexts) -> None:
    first = send_email(email(), context(attempt=1))
    second = send_email(email(), context(attempt=2))
    assert first == second
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("status", [500, 0])
def test_an_answer_that_was_lost_does_not_send_the_email_again(
    mailbox: Mailbox, context: Contexts, status: int
) -> None:
    mailbox.fail_next(status, accepted=True)
    with pytest.raises(ResendUnavailableError):
        send_email(email(), context(attempt=1))
    sent = send_email(email(), context(attempt=2))
    assert [mail.id for mail in mailbox.mails] == [sent.email_id]


def test_two_jobs_give_two_emails(mailbox: Mailbox, context: Contexts) -> None:
    send_email(email(), context("job-1"))
    send_email(email(), context("job-2"))
    assert len(mailbox.mails) == 2


def test_a_corrected_payload_is_sent_although_the_job_is_the_same(
    mailbox: Mailbox, context: Contexts
) -> None:
    send_email(email(to="typo@example.com"), context(attempt=1))
    send_email(email(to="ada@example.com"), context(attempt=2))
    assert [mail.to for mail in mailbox.mails] == [["ada@example.com"], ["typo@example.com"]]


def test_content_that_changed_between_two_attempts_is_permanent_and_says_why(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_email(email(), context(attempt=1))
    monkeypatch.setenv("APP_NAME", "Renamed")
    with pytest.raises(PermanentError, match="already accepted"):
        send_email(email(), context(attempt=2))


def test_a_rate_limit_comes_back_when_resend_says(mailbox: Mailbox, context: Contexts) -> None:
    mailbox.fail_next(429, headers={"Retry-After": "7"})
    with pytest.raises(RetryLater) as caught:
        send_email(email(), context())
    assert 7 <= caught.value.seconds <= 10


@pytest.mark.parametrize("quota", ["daily", "monthly"])
def test_a_used_up_quota_uses_up_no_attempt(
    mailbox: Mailbox, context: Contexts, quota: str
) -> None:
    mailbox.fail_next(429, name=f"{quota}_quota_exceeded", headers={"Retry-After": "1"})
    with pytest.raises(Snooze, match=f"{quota}_quota_exceeded") as caught:
        send_email(email(), context())
    assert caught.value.until > datetime.now(UTC) + timedelta(seconds=30)


def test_a_refused_email_is_permanent(mailbox: Mailbox, context: Contexts) -> None:
    mailbox.fail_next(422, to="ada@example.com")
    with pytest.raises(PermanentError, match="422 validation_error"):
        send_email(email(), context())


def test_a_wrong_key_is_permanent_and_is_not_shown(mailbox: Mailbox, context: Contexts) -> None:
    mailbox.api_key = "re_another"
    with pytest.raises(PermanentError, match="RESEND_API_KEY") as caught:
        send_email(email(), context())
    assert "re_secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_tried_again(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RESEND_API_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ResendUnavailableError, match="could not be reached"):
            send_email(email(), context())


def test_a_server_that_does_not_answer_is_left_before_the_job_runs_out_of_time(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("RESEND_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(ResendUnavailableError):
            send_email(email(), context(seconds=4.5))
        assert time.monotonic() - began < 30


def test_the_workers_signal_to_stop_passes_through_the_sdk(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise DeadlineNear

    before = signal.signal(signal.SIGALRM, stop)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("RESEND_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            with pytest.raises(DeadlineNear):
                send_email(email(), context())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives this answer once: its URL, and what it was sent."""
    received: list[bytes] = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            received.append(connection.recv(65536))
            while b"\r\n\r\n" not in received[0]:
                received[0] += connection.recv(65536)
            head, _, body = received[0].partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
            while len(body) < length:
                body += connection.recv(65536)
            received[0] = head + b"\r\n\r\n" + body
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", received
        thread.join()


def test_an_answer_that_is_no_json_is_tried_again(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno"
    with answering(page) as (url, _):
        monkeypatch.setenv("RESEND_API_URL", url)
        with pytest.raises(ResendUnavailableError, match="502"):
            send_email(email(), context())


def test_a_redirect_is_not_followed_since_the_key_would_go_along(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = f"HTTP/1.1 302 Found\r\nLocation: {mailbox.url}/emails\r\nContent-Length: 0\r\n\r\n"
    with answering(moved.encode()) as (url, _):
        monkeypatch.setenv("RESEND_API_URL", url)
        with pytest.raises(PermanentError, match=f"302: it is at {mailbox.url}/emails now"):
            send_email(email(), context())
    assert mailbox.mails == []


def test_a_url_that_is_none_of_http_is_a_matter_for_a_person(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEND_API_URL", "ftp://resend.example")
    with pytest.raises(PermanentError, match="RESEND_API_URL must start with https"):
        send_email(email(), context())


def test_what_is_no_json_goes_by_the_sdks_own_client() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with answering(answer) as (url, received):
        client = StandardClient(5)
        content, status, _ = client.request("post", f"{url}/x", {}, data={"a": "1"})
    assert (content, status) == (b"ok", 200)
    assert received[0].endswith(b"\r\n\r\na=1")


@pytest.mark.parametrize("name", ["RESEND_API_KEY", "RESEND_FROM_EMAIL"])
def test_a_missing_setting_is_named(
    mailbox: Mailbox, context: Contexts, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SettingError, match=name):
        send_email(email(), context())


def test_neither_address_nor_link_is_logged(
    mailbox: Mailbox, context: Contexts, capfd: pytest.CaptureFixture[str]
) -> None:
    send_email(email("passwordReset"), context())
    printed = "".join(capfd.readouterr())
    assert "3f9c2b7e51" not in printed
    assert "ada@example.com" not in printed
