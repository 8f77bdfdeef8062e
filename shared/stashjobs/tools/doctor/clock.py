"""Clocks: signatures and leases compare times of several machines."""

from __future__ import annotations

import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from stashjobs.config import settings
from stashjobs.store import database
from stashjobs.tools.doctor import sql, web
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

if TYPE_CHECKING:
    import httpx

# `signature` allows for five seconds; nearer than two is what machines with NTP have.
NOTED_SECONDS = 2.0
REFUSED_SECONDS = 5.0
# A Date header has whole seconds.
HEADER_SECONDS = 1.0


def of_postgres() -> Verdict:
    """Postgres's clock and this machine's agree."""
    with database.connect(settings.postgres_url()) as connection:
        began = time.time()
        row = connection.execute(sql.READ_CLOCK).fetchone()
        ended = time.time()
    return judge("Postgres", 0.0 if row is None else row[0], began, ended)


def of_the_api() -> Verdict:
    """The clock of the function that answers at BASE_URL and this machine's agree. Deliveries to a
    machine whose clock is behind QStash's are refused."""
    began = time.time()
    answer = web.fetch("GET", settings.base_url() + "/livez")
    ended = time.time()
    if (own := _own_clock(answer)) is not None:
        return judge("BASE_URL", own, began, ended)
    stamp = answer.headers.get("date")
    if stamp is None:
        return not_checked("the answer has no Date header")
    there = parsedate_to_datetime(stamp).timestamp()
    return judge("BASE_URL", there, began - HEADER_SECONDS, ended)


def _own_clock(answer: httpx.Response) -> float | None:
    """The function's, which API Gateway's Date header is not. None: a version before has it not."""
    try:
        return datetime.fromisoformat(answer.json()["now"]).timestamp()
    except (ValueError, TypeError, KeyError):
        return None


def judge(who: str, there: float, began: float, ended: float) -> Verdict:
    """A verdict on a time that was read somewhere between `began` and `ended` (Unix seconds)."""
    apart = max(began - there, there - ended, 0.0)
    if apart > REFUSED_SECONDS:
        told = f"{who} and this machine are {apart:.1f} s apart"
        return red(
            told,
            "set this machine's clock by NTP; if it is right, the other one's: a worker whose "
            "clock is behind answers QStash 401",
        )
    if apart > NOTED_SECONDS:
        return yellow(f"{who} and this machine are {apart:.1f} s apart", "run NTP on both")
    return green(f"{who} and this machine agree")


OF_POSTGRES = Check("clock of Postgres", of_postgres)
OF_THE_API = Check("clock of the API", of_the_api)
