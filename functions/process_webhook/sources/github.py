"""GitHub: what happened, in one line and a link (GitHub docs, "Webhook events and payloads").

The line is the job's result, and a notification for the users in the setting `GITHUB_NOTIFY_USERS`
(ids with commas between them). It is an example to start from: whatever should come of an event, an
email or a row of your own, begins here with `context.enqueue` or `context.connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from functions.create_notification.handler import create_notification
from functions.process_webhook.received import Received
from functions.process_webhook.registry import on
from stashjobs.config import settings
from stashjobs.wording import plural

if TYPE_CHECKING:
    from stashjobs import Context

# Of the actions that are no verbs (GitHub docs, "Webhook events and payloads", pull_request).
VERBS = {
    "auto_merge_disabled": "disabled auto-merge of",
    "auto_merge_enabled": "enabled auto-merge of",
    "converted_to_draft": "turned into a draft",
    "ready_for_review": "marked as ready for review",
    "review_request_removed": "withdrew a review request for",
    "review_requested": "requested a review of",
    "synchronize": "pushed to",
}


class Happened(BaseModel):
    """A line for people, where to read more, and how many users are told."""

    summary: str
    url: str
    notified: int = 0


class Repository(Received):
    full_name: str


class Account(Received):
    """Who did it. GitHub omits it where there is no actor, or the account is gone."""

    login: str = "someone"


class Commit(Received):
    id: str
    message: str = ""


class Push(Received):
    """`commits` is empty where a branch or a tag was created, moved or deleted."""

    ref: str
    compare: str = ""
    repository: Repository
    sender: Account = Account()
    commits: list[Commit] = Field(default_factory=list)
    created: bool = False
    deleted: bool = False
    forced: bool = False


class PullRequest(Received):
    number: int
    title: str = ""
    html_url: str = ""
    merged: bool = False


class PullRequestEvent(Received):
    action: str
    pull_request: PullRequest
    repository: Repository
    sender: Account = Account()


class Issue(Received):
    number: int
    title: str = ""
    html_url: str = ""


class IssuesEvent(Received):
    action: str
    issue: Issue
    repository: Repository
    sender: Account = Account()


@on("github", "push")
def push(event: Push, context: Context) -> Happened:
    """Commits on a branch, or a branch or tag that came or went."""
    where = f"{event.repository.full_name} {_short(event.ref)}"
    verb = "force-pushed" if event.forced else "pushed"
    if event.deleted:
        summary = f"{event.sender.login} deleted {where}"
    elif not event.commits:
        summary = f"{event.sender.login} {'created' if event.created else verb} {where}"
    else:
        commits = plural(len(event.commits), "commit")
        summary = f"{event.sender.login} {verb} {commits} to {where}"
        if message := _first_line(event.commits[-1].message):
            summary += f": {message}"
    return _tell("push", event.repository, Happened(summary=summary, url=event.compare), context)


@on("github", "pull_request")
def pull_request(event: PullRequestEvent, context: Context) -> Happened:
    """A pull request was opened, merged, closed, …"""
    about = event.pull_request
    action = "merged" if event.action == "closed" and about.merged else event.action
    happened = _happened(event, f"#{about.number}", action, about)
    return _tell("pull_request", event.repository, happened, context)


@on("github", "issues")
def issues(event: IssuesEvent, context: Context) -> Happened:
    """An issue was opened, closed, labelled, …"""
    happened = _happened(event, f"issue #{event.issue.number}", event.action, event.issue)
    return _tell("issues", event.repository, happened, context)


def _happened(
    event: PullRequestEvent | IssuesEvent, what: str, action: str, about: PullRequest | Issue
) -> Happened:
    verb = VERBS.get(action) or action.replace("_", " ")
    summary = (
        f"{event.sender.login} {verb} {event.repository.full_name} {what}: "
        f"{_first_line(about.title)}"
    )
    return Happened(summary=summary, url=about.html_url)


def _tell(kind: str, where: Repository, happened: Happened, context: Context) -> Happened:
    """Notify the configured users, if and only if this job completes."""
    setting = settings.optional("GITHUB_NOTIFY_USERS", "")
    users = [user.strip() for user in setting.split(",") if user.strip()]
    if users:
        notification = {
            "userIds": users,
            "type": f"github.{kind}",
            "title": where.full_name,
            "message": happened.summary,
            "link": happened.url or None,
        }
        context.enqueue(create_notification, notification)
    return happened.model_copy(update={"notified": len(users)})


def _short(ref: str) -> str:
    """`main` for refs/heads/main, `tag v1` for refs/tags/v1."""
    return ref.removeprefix("refs/heads/").replace("refs/tags/", "tag ", 1)


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:200]
