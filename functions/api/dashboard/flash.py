"""What a page says was done by the form before it, once: a cookie that the next page takes away.

So it is in no address: a page that is loaded again, or that is sent to another person, says nothing
of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from fastapi.responses import RedirectResponse

from functions.api.dashboard import auth
from stashjobs import wording

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SECONDS = 60
# Of one job, and of many.
DONE = {
    "retry": ("The job is retried: it is waiting for delivery.", "retried"),
    "cancel": ("The job is cancelled, or asked to stop where it runs.", "cancelled"),
    "run-now": ("The job is due now.", "due now"),
    "reschedule": ("The job is rescheduled.", "rescheduled"),
    "edit": ("The job is changed: it has the new payload.", "changed"),
    "delete": ("The job is deleted.", "deleted"),
    "enqueue": ("The job is enqueued.", "enqueued"),
    "schedule-pause": ("The schedule is paused.", ""),
    "schedule-resume": ("The schedule runs again.", ""),
    "schedule-run": ("A job is enqueued.", ""),
    "type-pause": ("The type is paused: no new attempt begins.", ""),
    "type-resume": ("The type is resumed: its jobs are delivered again.", ""),
    "type-limit": ("The limit counts from now on.", ""),
    "type-lift": ("The limit is lifted: what the code declares counts.", ""),
    "dead-letters": ("", "deleted at QStash"),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, and the job that it is about where the page is not that job's own."""

    text: str
    job_id: str = ""


def leads_to(
    url: str, request: Request, done: str, *, count: int | None = None, job_id: str = ""
) -> Response:
    """A redirect to a page that says what was done.

    Args:
        url: The page.
        request: The form.
        done: One of `DONE`.
        count: To how many; None: to one.
        job_id: A job to be seen.
    """
    response = RedirectResponse(url, 303)
    given = {"done": done, "count": "" if count is None else count, "job": job_id}
    _set(request, response, urlencode(given))
    return response


def read(request: Request) -> Notice | None:
    """What the page is to say; only ever one of our own sentences."""
    given = parse_qs(request.cookies.get(_name(request), ""), max_num_fields=3)
    done, count = given.get("done", [""])[0], given.get("count", [""])[0]
    if done not in DONE:
        return None
    one, many = DONE[done]
    if not count:
        return Notice(one, given.get("job", [""])[0][:128]) if one else None
    if not many or not (count.isascii() and count.isdigit()):
        return None
    what = "dead letter" if done == "dead-letters" else "job"
    return Notice(f"{wording.plural(int(count[:6]), what)} {many}.")


def end(request: Request, response: Response) -> None:
    """The page has said it."""
    if _name(request) in request.cookies:
        _set(request, response, "", seconds=0)


def _set(request: Request, response: Response, value: str, seconds: int = SECONDS) -> None:
    response.set_cookie(
        _name(request),
        value,
        max_age=seconds,
        path="/",
        secure=not auth.is_loopback(request),
        httponly=True,
        samesite="lax",
    )


def _name(request: Request) -> str:
    return f"{auth.cookie_name(request)}-notice"
