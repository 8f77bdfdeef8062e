"""GitHub's events: a line for people, and a notification for those who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table

WHO_AND_WHERE = {
    "repository": {"full_name": "acme/app", "id": 1},
    "sender": {"login": "ada", "id": 2},
}
ISSUE = {"number": 3, "title": "It breaks", "html_url": "https://github.com/acme/app/issues/3"}
PULL = {"number": 4, "title": "Mend it\nnow", "html_url": "https://github.com/acme/app/pull/4"}
SOMEONE_PUSHED = "someone pushed 1 commit to acme/app feature/x: one"
COMPARE = "https://github.com/acme/app/compare/a...b"


def push(*messages: str, **changes: Any) -> dict[str, Any]:
    commits = [{"id": str(number), "message": text} for number, text in enumerate(messages)]
    return {
        "ref": "refs/heads/feature/x",
        "compare": COMPARE,
        "commits": commits,
        **WHO_AND_WHERE,
        **changes,
    }


@pytest.mark.parametrize(
    ("event", "body", "summary"),
    [
        ("push", push("one"), "ada pushed 1 commit to acme/app feature/x: one"),
        ("push", push("one", "two\n\nmore"), "ada pushed 2 commits to acme/app feature/x: two"),
        ("push", push("one", forced=True), "ada force-pushed 1 commit to acme/app feature/x: one"),
        ("push", push(ref="refs/tags/v1", created=True), "ada created acme/app tag v1"),
        ("push", push(forced=True), "ada force-pushed acme/app feature/x"),
        ("push", push(deleted=True), "ada deleted acme/app feature/x"),
        (
            "pull_request",
            {"action": "opened", "pull_request": PULL, **WHO_AND_WHERE},
            "ada opened acme/app #4: Mend it",
        ),
        (
            "pull_request",
            {"action": "closed", "pull_request": PULL | {"merged": True}, **WHO_AND_WHERE},
            "ada merged acme/app #4: Mend it",
        ),
        (
            "pull_request",
            {"action": "ready_for_review", "pull_request": PULL, **WHO_AND_WHERE},
            "ada marked as ready for review acme/app #4: Mend it",
        ),
        (
            "issues",
            {"action": "closed", "issue": ISSUE, **WHO_AND_WHERE},
            "ada closed acme/app issue #3: It breaks",
        ),
        (
            "pull_request",
            {"action": "closed", "pull_request": PULL | {"merged": None}, **WHO_AND_WHERE},
            "ada closed acme/app #4: Mend it",
        ),
        ("push", push("one", forced=None, deleted=None, sender=None), SOMEONE_PUSHED),
        ("push", push("one", sender={"login": None}), SOMEONE_PUSHED),
        ("push", push(commits=None), "ada pushed acme/app feature/x"),
        ("push", push(commits=[{"id": "1"}]), "ada pushed 1 commit to acme/app feature/x"),
        (
            "issues",
            {
                "action": "opened",
                "issue": ISSUE | {"body": None},
                "repository": {"full_name": "acme/app"},
            },
            "someone opened acme/app issue #3: It breaks",
        ),
    ],
)
def test_what_happened_in_one_line(
    process: Callable[..., Any], event: str, body: dict[str, Any], summary: str
) -> None:
    answer, row = process("github", event, body)
    assert answer.status == 200
    assert row["result"]["summary"] == summary
    assert row["result"]["url"].startswith("https://github.com/acme/app/")
    assert row["result"]["notified"] == 0


def test_users_who_asked_for_it_are_notified_if_the_job_completes(
    table: Table, settings: pytest.MonkeyPatch, process: Callable[..., Any]
) -> None:
    settings.setenv("GITHUB_NOTIFY_USERS", "u_1, u_2")
    _, row = process("github", "push", push("one"))
    [told] = [each for each in table.rows() if each["job_type"] == "create-notification"]
    assert row["result"]["notified"] == 2
    assert told["payload"]["userIds"] == ["u_1", "u_2"]
    assert told["payload"]["type"] == "github.push"
    assert told["payload"]["message"] == row["result"]["summary"]
    assert told["payload"]["link"] == COMPARE


def test_a_push_that_is_none_fails_for_good(process: Callable[..., Any]) -> None:
    answer, row = process("github", "push", {})
    assert (answer.status, row["status"]) == (489, "failed")
    assert "ref: Field required" in row["error"]
