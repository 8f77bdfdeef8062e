"""Resend's events: the email's record, in whatever order they arrive."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table

Processed = tuple[Any, dict[str, Any]]


def event(kind: str, second: int = 0, **data: Any) -> dict[str, Any]:
    """In the form of Resend docs, "email.delivered" and its sisters."""
    return {
        "type": f"email.{kind}",
        "created_at": f"2026-11-22T23:41:{second:02d}.126Z",
        "data": {
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "created_at": "2026-11-22T23:40:11.894719+00:00",
            "from": "Acme <hello@acme.example>",
            "to": ["ada@example.com"],
            "subject": "Welcome",
            "tags": {"template": "welcome", "job_id": "job-1"},
            **data,
        },
    }


BOUNCE = {"bounce": {"type": "Permanent", "subType": "General", "message": "No such mailbox."}}


def test_the_first_event_makes_the_email_s_record(
    table: Table, process: Callable[..., Processed]
) -> None:
    answer, row = process("resend", "email.delivered", event("delivered", 5))
    [email] = table.run("SELECT * FROM emails")
    assert answer.status == 200
    assert row["result"] == {
        "emailId": email["email_id"],
        "status": "delivered",
        "changed": True,
    }
    assert (email["job_id"], email["template"]) == ("job-1", "welcome")
    assert (email["recipients"], email["subject"]) == (["ada@example.com"], "Welcome")
    assert (email["status"], email["reason"]) == ("delivered", None)
    assert email["status_at"] == datetime(2026, 11, 22, 23, 41, 5, 126000, tzinfo=UTC)
    assert email["sent_at"] == datetime(2026, 11, 22, 23, 40, 11, 894719, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "more", "status", "reason"),
    [
        ("sent", {}, "sent", None),
        ("delivery_delayed", {}, "delayed", None),
        ("bounced", BOUNCE, "bounced", "Permanent General: No such mailbox."),
        ("bounced", {"bounce": {"diagnosticCode": ["550"]}}, "bounced", None),
        ("complained", {}, "complained", None),
        ("failed", {"failed": {"reason": "reached_daily_quota"}}, "failed", "reached_daily_quota"),
        ("suppressed", {"suppressed": {"message": "Bounced."}}, "suppressed", "Bounced."),
    ],
)
def test_every_outcome_has_its_status_and_reason(
    table: Table,
    process: Callable[..., Processed],
    kind: str,
    more: dict[str, Any],
    status: str,
    reason: str | None,
) -> None:
    assert process("resend", f"email.{kind}", event(kind, **more))[0].status == 200
    [email] = table.run("SELECT status, reason FROM emails")
    assert email == {"status": status, "reason": reason}


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1, 2])))
def test_the_newest_holds_whatever_the_order_of_arrival(
    table: Table, process: Callable[..., Processed], order: tuple[int, ...]
) -> None:
    events = [event("sent", 1), event("delivery_delayed", 2), event("delivered", 3)]
    for each in (events[index] for index in order):
        process("resend", each["type"], each)
    assert table.run("SELECT status FROM emails") == [{"status": "delivered"}]


@pytest.mark.parametrize("bad", ["bounced", "complained", "failed", "suppressed"])
@pytest.mark.parametrize("delivered_at", [1, 9])
@pytest.mark.parametrize("first", [True, False])
def test_bad_news_is_never_overwritten_by_good(
    table: Table, process: Callable[..., Processed], bad: str, delivered_at: int, *, first: bool
) -> None:
    events = [event(bad, 5), event("delivered", delivered_at)]
    for each in events if first else reversed(events):
        process("resend", each["type"], each)
    assert table.run("SELECT status FROM emails") == [{"status": bad}]


def test_of_two_bad_news_the_newer_holds(table: Table, process: Callable[..., Processed]) -> None:
    process("resend", "email.complained", event("complained", 8))
    _, row = process("resend", "email.bounced", event("bounced", 7, **BOUNCE))
    assert row["result"]["changed"] is False
    process("resend", "email.bounced", event("bounced", 9, **BOUNCE))
    assert table.run("SELECT status FROM emails") == [{"status": "bounced"}]


def test_emails_are_told_apart(table: Table, process: Callable[..., Processed]) -> None:
    process("resend", "email.sent", event("sent", email_id="a"))
    process("resend", "email.sent", event("sent", email_id="b"))
    assert len(table.run("SELECT 1 FROM emails")) == 2


def test_tags_and_times_in_resend_s_other_spellings(
    table: Table, process: Callable[..., Processed]
) -> None:
    tags = [{"name": "job_id", "value": "job-2"}]
    spelled = event("sent", tags=tags, created_at="2026-11-22 23:40:11.894719+00")
    assert process("resend", "email.sent", spelled)[0].status == 200
    assert table.run("SELECT job_id FROM emails") == [{"job_id": "job-2"}]


def test_an_email_of_another_sender_has_a_record_too(
    table: Table, process: Callable[..., Processed]
) -> None:
    process("resend", "email.sent", event("sent", tags={}))
    assert table.run("SELECT job_id, template FROM emails") == [{"job_id": None, "template": None}]


def test_the_record_is_written_if_and_only_if_the_job_completes(
    table: Table, settings: pytest.MonkeyPatch, process: Callable[..., Processed]
) -> None:
    from stashjobs.store import executions

    def break_off(*_arguments: object, **_options: object) -> None:
        raise SystemError("a crash before the completion")

    settings.setattr(executions, "record_completed", break_off)
    with pytest.raises(SystemError):
        process("resend", "email.sent", event("sent"))
    assert table.run("SELECT 1 FROM emails") == []


def test_what_says_nothing_of_an_email_s_way_is_ignored(process: Callable[..., Processed]) -> None:
    assert process("resend", "email.opened", event("opened"))[1]["result"] == {
        "ignored": "no handler for resend email.opened"
    }


def test_an_event_without_its_email_fails_for_good(process: Callable[..., Processed]) -> None:
    answer, row = process("resend", "email.sent", {"type": "email.sent"})
    assert (answer.status, row["status"]) == (489, "failed")
    assert "data: Field required" in row["error"]


@pytest.mark.parametrize(
    "data",
    [
        {"tags": None},
        {"tags": {"job_id": None, "template": 5}},
        {"tags": [{"name": "job_id", "value": None}, {"value": "x"}, "x", None]},
        {"subject": None},
        {"to": None},
        {"to": "ada@example.com"},
        {"bounce": None},
        {"bounce": {"message": None, "type": None, "subType": None}},
        {"failed": {"reason": None}},
        {"suppressed": {"message": None, "type": None}},
    ],
)
def test_what_is_null_is_as_if_it_were_missing(
    table: Table, process: Callable[..., Processed], data: dict[str, Any]
) -> None:
    assert process("resend", "email.bounced", event("bounced", **data))[0].status == 200
    assert table.run("SELECT status, reason FROM emails") == [{"status": "bounced", "reason": None}]
