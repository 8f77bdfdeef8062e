"""A user's list, as the app asks for it."""

from typing import Any

import pytest

from functions.create_notification import notifications, sql
from functions.create_notification.models import Notification
from stashjobs.store import database
from tests.deliveries import Table


@pytest.fixture
def connection(table: Table) -> database.Connection:
    return table.other


def notify(connection: database.Connection, count: int = 1, **changes: Any) -> None:
    """As so many jobs do."""
    [last] = connection.execute("SELECT coalesce(max(notification_id), 0) FROM notifications")
    for number in range(count):
        wanted = {"userId": "u_1", "type": "t", "title": f"{number}", "message": "m"} | changes
        notifications.create(
            connection, Notification.model_validate(wanted), job_id=f"job-{last[0]}-{number}"
        )


def titles(page: notifications.Page) -> list[str]:
    return [each.title for each in page.notifications]


def ids(page: notifications.Page) -> list[int]:
    return [each.notification_id for each in page.notifications]


def test_newest_first_page_by_page(connection: database.Connection) -> None:
    notify(connection, 7)
    notify(connection, userId="u_2")
    seen, before = [], None
    for expected in (3, 3, 1):
        page = notifications.list_for_user(connection, "u_1", before=before, limit=3)
        assert len(page.notifications) == expected
        seen += titles(page)
        before = page.next_before
    assert before is None
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_what_arrives_meanwhile_does_not_shift_the_next_page(
    connection: database.Connection,
) -> None:
    notify(connection, 4)
    first = notifications.list_for_user(connection, "u_1", limit=2)
    notify(connection, 2)
    second = notifications.list_for_user(connection, "u_1", before=first.next_before, limit=2)
    assert (titles(first), titles(second)) == (["3", "2"], ["1", "0"])


def test_a_full_last_page_is_known_to_be_the_last(connection: database.Connection) -> None:
    notify(connection, 2)
    assert notifications.list_for_user(connection, "u_1", limit=2).next_before is None
    assert notifications.list_for_user(connection, "nobody").notifications == []


def test_reading_and_unreading(connection: database.Connection) -> None:
    notify(connection, 3)
    newest, middle, oldest = ids(notifications.list_for_user(connection, "u_1"))
    assert notifications.count_unread(connection, "u_1") == 3
    assert notifications.mark_read(connection, "u_1", [middle, 12345]) == 1
    assert notifications.mark_read(connection, "u_1", [middle]) == 0
    unread = notifications.list_for_user(connection, "u_1", unread_only=True)
    assert ids(unread) == [newest, oldest]
    assert notifications.count_unread(connection, "u_1") == 2
    assert notifications.mark_unread(connection, "u_1", [middle, newest]) == 1
    assert notifications.count_unread(connection, "u_1") == 3


def test_all_are_read_up_to_what_the_user_has_seen(connection: database.Connection) -> None:
    notify(connection, 3)
    seen = notifications.list_for_user(connection, "u_1").notifications[0].notification_id
    notify(connection)
    assert notifications.mark_all_read(connection, "u_1", up_to=seen) == 3
    assert notifications.count_unread(connection, "u_1") == 1
    assert notifications.mark_all_read(connection, "u_1") == 1


def test_nobody_marks_what_is_anothers(connection: database.Connection) -> None:
    notify(connection)
    [mine] = ids(notifications.list_for_user(connection, "u_1"))
    assert notifications.mark_read(connection, "u_2", [mine]) == 0
    assert notifications.mark_all_read(connection, "u_2") == 0
    assert notifications.count_unread(connection, "u_1") == 1


def test_what_has_expired_is_not_shown_and_not_counted(connection: database.Connection) -> None:
    notify(connection, expiresAt="2020-01-01T00:00:00Z", title="old")
    notify(connection, expiresAt="2100-01-01T00:00:00Z", title="new")
    for unread_only in (True, False):
        page = notifications.list_for_user(connection, "u_1", unread_only=unread_only)
        assert titles(page) == ["new"]
    assert notifications.count_unread(connection, "u_1") == 1


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql.LIST_ALL, "idx_notifications_user"),
        (sql.LIST_UNREAD, "idx_notifications_unread"),
        (sql.COUNT_UNREAD, "idx_notifications_unread"),
    ],
)
def test_an_index_serves_it_however_many_there_are(
    connection: database.Connection, statement: str, index: str
) -> None:
    connection.execute(
        "INSERT INTO notifications (job_id, user_id, type, title, message, read_at) "
        "SELECT 'j' || n, 'u_' || n % 500, 't', 't', 'm', CASE WHEN n % 10 > 0 THEN now() END "
        "FROM generate_series(1, 20000) AS n"
    )
    connection.execute("ANALYZE notifications")
    plan = connection.execute(
        f"EXPLAIN {statement}", {"user_id": "u_10", "before": 15000, "limit": 21}
    ).fetchall()
    shown = "\n".join(line for (line,) in plan)
    assert index in shown
    assert "Seq Scan" not in shown
