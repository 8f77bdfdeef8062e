"""What a check says, and how checks are run: each within its time, none brings the others down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from stashjobs.errors import SettingError
from stashjobs.observability import redaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SECONDS_PER_CHECK = 15.0


class Level(StrEnum):
    """`green`: as it should be. `yellow`: works, but look at it. `red`: fix it before
    the next deploy. `grey`: not checked, and the finding says why."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. `next` is what to do; empty where there is nothing to do."""

    level: Level
    what: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and on what."""

    level: Level
    subject: str
    what: str
    next: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        subject: What is looked at.
        look: Looks. It may raise: that is a finding too.
        decides: Where this one is red, the rest of its group need not be looked at.
    """

    subject: str
    look: Callable[[], Verdict]
    decides: bool = False


def green(what: str) -> Verdict:
    """As it should be."""
    return Verdict(Level.GREEN, what)


def yellow(what: str, then: str) -> Verdict:
    """It works, but look at it."""
    return Verdict(Level.YELLOW, what, then)


def red(what: str, then: str) -> Verdict:
    """It does not work, or is not safe."""
    return Verdict(Level.RED, what, then)


def not_checked(why: str, then: str = "") -> Verdict:
    """It could not be looked at from here, or need not be."""
    return Verdict(Level.GREY, f"not checked: {why}", then)


def run(groups: Iterable[Sequence[Check]], *, seconds: float = SECONDS_PER_CHECK) -> list[Finding]:
    """Run the groups at the same time, and the checks of a group one after the other, so that no
    more connections are open than there are groups. The findings come in the checks' order.

    Args:
        groups: The checks.
        seconds: How long each may take.
    """
    groups = list(groups)
    with ThreadPoolExecutor(max(1, len(groups))) as pool:
        found = pool.map(lambda group: _find_all(group, seconds), groups)
        return [finding for group in found for finding in group]


def _find_all(group: Sequence[Check], seconds: float) -> list[Finding]:
    found: list[Finding] = []
    for number, check in enumerate(group, 1):
        found.append(_find(check, seconds))
        if check.decides and found[-1].level == Level.RED:
            why = f"not checked: see {check.subject}"
            return found + [Finding(Level.GREY, rest.subject, why) for rest in group[number:]]
    return found


def _find(check: Check, seconds: float) -> Finding:
    """The check's finding. It runs in a thread of its own that is left behind when its time is up,
    and does not keep the process from ending."""
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(_look(check)), daemon=True)
    thread.start()
    thread.join(seconds)
    verdict = (
        verdicts[0]
        if verdicts
        else red(f"no answer within {seconds:g} s", "is it reachable from here?")
    )
    return Finding(verdict.level, check.subject, _line(verdict.what), _line(verdict.next))


def _line(text: str) -> str:
    """`text` without secrets, in one line."""
    return " ".join(redaction.redact(text).split())


def _look(check: Check) -> Verdict:
    try:
        return check.look()
    except SettingError as error:
        return red(str(error), "set it, then run doctor again")
    except ModuleNotFoundError as error:
        return not_checked(
            f"the package {error.name} is not installed",
            "pip install 'stashjobs[aws,email,encryption,stripe]'",
        )
    except Exception as error:  # noqa: BLE001 - the other findings are still wanted
        if _is_unreachable(error):
            return red(
                f"cannot be reached: {redaction.one_line(error)}",
                "is its address right, is it up, and does a firewall let you through?",
            )
        return red(
            f"the check failed: {redaction.one_line(error)}",
            "see docs/troubleshooting.md for this message",
        )


def _is_unreachable(error: Exception) -> bool:
    import httpx
    import psycopg

    return isinstance(error, httpx.TransportError | psycopg.OperationalError)
