"""What a user has been told, and what of it they have read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from functions.create_notification.handler import create_notification
from tests.deliveries import deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table


def tell(table: Table, user_id: str, title: str) -> None:
    payload = {"userId": user_id, "type": "news", "title": title, "message": "something happened"}
    assert deliver(create_notification, table.add(create_notification, payload)).status == 200


def test_a_users_notifications_are_listed_and_marked(
    caller: Callable[..., TestClient], table: Table
) -> None:
    for title in ("first", "second", "third"):
        tell(table, "u_1", title)
    tell(table, "u_2", "another's")
    app = caller("read", "enqueue")
    path = "/api/users/u_1/notifications"

    page = app.get(path, params={"limit": 2}).json()
    assert [one["title"] for one in page["notifications"]] == ["third", "second"]
    assert page["unread"] == 3
    rest = app.get(path, params={"limit": 2, "before": page["next"]}).json()
    assert [one["title"] for one in rest["notifications"]] == ["first"]
    assert rest["next"] is None

    newest = page["notifications"][0]["notificationId"]
    assert app.post(f"{path}/read", json={"ids": [newest]}).json() == {"count": 1}
    unread = app.get(path, params={"unread": True}).json()
    assert [one["title"] for one in unread["notifications"]] == ["second", "first"]
    assert app.post(f"{path}/unread", json={"ids": [newest]}).json() == {"count": 1}
    assert app.post(f"{path}/read", json={}).json() == {"count": 3}
    assert app.get("/api/users/u_2/notifications").json()["unread"] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("read", {"ids": [1], "upTo": 5}),
        ("read", {"ids": ["1"]}),
        ("read", {"upTo": 0}),
        ("unread", {}),
        ("unread", {"upTo": 5}),
    ],
)
def test_marks_that_make_no_sense_are_422(
    caller: Callable[..., TestClient], path: str, body: dict[str, Any]
) -> None:
    answer = caller("enqueue").post(f"/api/users/u_1/notifications/{path}", json=body)
    assert answer.status_code == 422


def test_all_up_to_one_are_marked(caller: Callable[..., TestClient], table: Table) -> None:
    for title in ("first", "second"):
        tell(table, "u_1", title)
    app = caller("read", "enqueue")
    newest, oldest = app.get("/api/users/u_1/notifications").json()["notifications"]
    answer = app.post("/api/users/u_1/notifications/read", json={"upTo": oldest["notificationId"]})
    assert answer.json() == {"count": 1}
    [unread] = app.get("/api/users/u_1/notifications?unread=true").json()["notifications"]
    assert unread["notificationId"] == newest["notificationId"]
