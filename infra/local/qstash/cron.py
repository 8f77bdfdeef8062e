"""Cron expressions as QStash takes them (docs: "Schedules", "Timezones").

It fires in each minute whose clock shows a time of the expression. So a time that the clock leaves
out when it goes forward is skipped, and one that it has twice when it goes back fires twice, as
robfig/cron documents and tests: "jobs scheduled during daylight-savings leap-ahead transitions will
not be run". Upstash's own pages say nothing of it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from stashjobs.producer.cron import DESCRIPTORS

from .errors import bad_request

# No zone changes its clock twice within so much.
SEARCH_STEP = timedelta(hours=12)


class Cron:
    """A parsed expression, with its time zone."""

    def __init__(self, expression: str) -> None:
        text = expression.strip()
        if not text:
            raise _invalid("empty spec string")
        zone: tzinfo = UTC
        prefix = re.match(r"(?:CRON_)?TZ=(\S+)\s*", text)
        if prefix:
            zone = _zone(prefix.group(1))
            text = text[prefix.end() :]
        text = DESCRIPTORS.get(text, text)
        fields = text.split()
        if len(fields) != 5:
            raise _invalid(f"expected exactly 5 fields, found {len(fields)}: {fields}")
        _refuse_extensions(fields)
        text = text.replace("?", "*")
        self._fields = text
        self._zone = zone
        try:
            CronSim(text, datetime(2024, 1, 1, tzinfo=zone))
        except CronSimError as error:
            raise _invalid(str(error)) from error

    def after_ms(self, time_ms: int) -> int | None:
        """The next firing after `time_ms`, or None if there is none within CronSim's horizon."""
        moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
        offset = self._offset(moment)
        while True:
            # On a clock that keeps this offset for ever.
            shown = next(CronSim(self._fields, moment + offset), None)
            if shown is None:
                return None
            found = shown - offset
            change = self._first_change(moment, found, offset)
            if change is None:
                return int(found.timestamp() * 1000)
            moment, offset = change - timedelta(seconds=1), self._offset(change)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta()

    def _first_change(self, after: datetime, until: datetime, offset: timedelta) -> datetime | None:
        """The first second in this time in which the clock has another offset, or None."""
        while after < until:
            then = min(after + SEARCH_STEP, until)
            if self._offset(then) != offset:
                while then - after > timedelta(seconds=1):
                    middle = after + timedelta(seconds=(then - after).total_seconds() // 2)
                    after, then = (
                        (middle, then) if self._offset(middle) == offset else (after, middle)
                    )
                return then.replace(microsecond=0)
            after = then
        return None


def _refuse_extensions(fields: list[str]) -> None:
    """CronSim's `L`, `W` and `#`, and 7 for Sunday, are unknown to robfig/cron; `?` is `*`."""
    for field in fields:
        for part in re.split(r"[,/-]", field):
            if not re.fullmatch(r"[*?]|[0-9]+|[A-Za-z]{3}", part):
                raise _invalid(f"failed to parse int from {part}")
    if "7" in re.split(r"[,-]", fields[4].partition("/")[0]):
        raise _invalid(f"end of range (7) above maximum (6): {fields[4]}")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError) as error:
        raise _invalid(f"provided bad location {name}: unknown time zone {name}") from error
    except KeyError as error:  # ZoneInfoNotFoundError
        raise _invalid(f"provided bad location {name}: unknown time zone {name}") from error


def _invalid(reason: str) -> Exception:
    return bad_request(f"Invalid cron expression {reason}")
