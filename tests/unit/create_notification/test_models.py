"""What a notification may say, and to whom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions.create_notification.handler import create_notification
from functions.create_notification.models import MAX_USERS, Notification


def notification(**changes: Any) -> Notification:
    return Notification.model_validate(
        {"userId": "u_1", "type": "release", "title": "T", "message": "M"} | changes
    )


@pytest.mark.parametrize(
    "link",
    [
        "/billing",
        "/",
        "/a?b=c#d",
        "https://app.example.com/billing",
        "http://localhost:3000/x",
        "HTTPS://APP.EXAMPLE.COM",
    ],
)
def test_links_into_the_app_and_into_the_web(link: str) -> None:
    assert notification(link=link).link == link


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https://",
        "https://user:secret@app.example.com",
        "https://app.example.com:port/",
        "https://[::1",
        "billing",
        "mailto:ada@example.com",
        "",
    ],
)
def test_whatever_else_a_browser_would_follow_is_refused(link: str) -> None:
    with pytest.raises(ValidationError):
        notification(link=link)


@given(st.text(max_size=40))
def test_a_link_is_a_path_or_begins_with_http(link: str) -> None:
    try:
        accepted = notification(link=link).link
    except ValidationError:
        return
    assert accepted is not None
    assert accepted.lower().startswith(("http://", "https://")) or (
        accepted.startswith("/") and accepted[1:2] not in {"/", "\\"}
    )


def test_recipients_are_one_user_many_or_both_each_once() -> None:
    assert notification().recipients == ["u_1"]
    assert notification(userIds=["u_2", "u_1", "u_2"]).recipients == ["u_1", "u_2"]
    assert notification(userId=None, userIds=[" u_3 "]).recipients == ["u_3"]


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": None},
        {"userId": None, "userIds": []},
        {"userId": "  "},
        {"userIds": [""]},
        {"userIds": ["u"] * (MAX_USERS + 1)},
        {"title": " "},
        {"message": ""},
        {"type": "two words"},
        {"priority": "highest"},
        {"expiresAt": "2026-06-09T14:30:00"},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        notification(**changes)


def test_ten_thousand_users_are_not_too_many() -> None:
    users = [f"u_{number}" for number in range(MAX_USERS)]
    assert notification(userId=None, userIds=users).recipients == users


def test_the_example_is_valid() -> None:
    assert create_notification.read_payload(create_notification.example()).recipients
