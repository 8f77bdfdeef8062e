"""The deployed API, from outside: it answers, and it refuses unauthorized requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from stashjobs.config import settings
from stashjobs.delivery.receive import GATEWAY_SECONDS
from stashjobs.job_type import declared
from stashjobs.producer import message as messages
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 12.0
# What Lambda answers, by a Function URL or through API Gateway, while every process is busy.
BUSY = {429, 503}
ASK_AGAIN = "ask again; if it stays so, see docs/monitoring.md, Deliveries are throttled"


def alive() -> Verdict:
    """`/livez` and `/readyz` answer."""
    for path in ("/livez", "/readyz"):
        answer = fetch("GET", settings.base_url() + path)
        if answer.status_code != 200:
            then = "is it deployed? See ApiFunction's log; is BASE_URL the address of this stage?"
            return red(f"{path} answered {answer.status_code}", then)
    return green(f"{settings.base_url()} answers")


def signatures_are_verified() -> Verdict:
    """A job's route refuses a call that QStash has not signed. Nothing is run by asking."""
    urls = {job.type: messages.url_of(job) for job in declared()}
    if not urls:
        return not_checked("no job type is declared here; run this in a checkout")
    with ThreadPoolExecutor(len(urls)) as pool:
        answers = dict(zip(urls, pool.map(_status_of_unsigned, urls.values()), strict=True))
    busy = [f"{name} {status}" for name, status in answers.items() if status in BUSY]
    wrong = [f"{name} {status}" for name, status in answers.items() if status not in {401, *BUSY}]
    if wrong:
        told = f"an unsigned call was not answered 401: {', '.join(wrong)}"
        return red(
            told,
            "is this version deployed? 404: the route is missing; 200: stop and mend; 500: all its "
            "processes are busy, or it cannot read its settings (see its log)",
        )
    if busy:
        return yellow(f"too busy to answer an unsigned call: {', '.join(busy)}", ASK_AGAIN)
    return green(f"{len(answers)} job routes refuse what QStash has not signed")


def long_jobs_have_urls() -> Verdict:
    """Where a job may outlive API Gateway's 30 seconds, this machine knows its own URL too."""
    if settings.stage() == "local":
        return not_checked("this is the local stage")
    names = [
        messages.function_url_setting(job.type)
        for job in declared()
        if job.timeout > GATEWAY_SECONDS
    ]
    missing = [name for name in names if settings.optional(name) is None]
    if missing:
        told = f"from here QStash would be led to API Gateway: {', '.join(missing)} not set"
        return yellow(told, "see docs/deployment.md, Function URLs")
    return green(f"{len(names)} job types are reached past API Gateway")


def api_needs_a_token() -> Verdict:
    """The API refuses requests without a token."""
    status = fetch("GET", settings.base_url() + "/api/jobs").status_code
    if status == 401:
        return green("refuses a call without a token")
    if status in BUSY:
        return yellow(f"too busy to answer a call without a token: {status}", ASK_AGAIN)
    return red(f"a call without a token was answered {status}", "is this version deployed?")


def fetch(method: str, url: str) -> httpx.Response:
    """One request, without anything that is secret."""
    import httpx  # what QStash's SDK is made of

    return httpx.request(method, url, timeout=TIMEOUT_SECONDS)


def _status_of_unsigned(url: str) -> int:
    return fetch("POST", url).status_code


CHECKS = (
    Check("API", alive, decides=True),
    Check("Function URLs", long_jobs_have_urls),
    Check("signatures", signatures_are_verified),
    Check("API tokens", api_needs_a_token),
)
