"""Cron expressions against their documentation, read anew here: for QStash the fields, lists,
ranges and steps of robfig/cron's own page, for EventBridge AWS's "Schedule types"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventbridge import next_time
from infra.local.qstash.cron import Cron
from infra.local.template import ScheduleEvent
from stashjobs.producer import cron
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
NAMES = [{}, {}, {}, {m: n for n, m in enumerate(MONTHS, 1)}, {d: n for n, d in enumerate(DAYS)}]
# Days on which a clock changes, with the hours around it; and one on which none does.
CHANGES = [
    ("Europe/Rome", "2026-03-28T22:00"),
    ("Europe/Rome", "2026-10-24T22:00"),
    ("America/New_York", "2026-03-08T05:00"),
    ("America/New_York", "2026-11-01T03:00"),
    ("America/Sao_Paulo", "2018-11-03T20:00"),  # midnight is left out
    ("Asia/Kolkata", "2026-05-05T00:00"),
]


def values(text: str, number: int) -> set[int] | None:
    """What a field stands for, or None where the documentation knows no such field."""
    (lowest, highest), names, found = BOUNDS[number], NAMES[number], set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step) > 0):
            return None
        if span in {"*", "?"}:
            first, last = lowest, highest
        else:
            ends = [
                names.get(end.lower(), int(end) if end.isdecimal() else -1)
                for end in span.split("-")
            ]
            if len(ends) > 2 or -1 in ends:
                return None
            first, last = ends[0], ends[-1]
            if slash and len(ends) == 1:
                last = highest
        if not lowest <= first <= last <= highest:
            return None
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def shows(expression: str, clock: datetime) -> bool:
    """Whether this time on the clock is one of the expression's."""
    texts = expression.split()
    minutes, hours, days, months, weekdays = (
        values(text, number) or set() for number, text in enumerate(texts)
    )
    of_month, of_week = clock.day in days, clock.isoweekday() % 7 in weekdays
    any_day = texts[2][0] in "*?" or texts[4][0] in "*?"
    return (
        clock.minute in minutes
        and clock.hour in hours
        and clock.month in months
        and (of_month and of_week if any_day else of_month or of_week)
    )


def clock_of(zone: str, start: str) -> Iterator[tuple[datetime, datetime]]:
    """Each minute of some hours, and what a clock in the zone shows in it."""
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
    for _ in range(12 * 60):
        moment += timedelta(minutes=1)
        yield moment, moment.astimezone(ZoneInfo(zone))


words = st.sampled_from(["*", "?", "a", "", "L", "jan", "FRI", "-1", "1.5"])
numbers = st.integers(0, 70).map(str) | words
spans = st.tuples(numbers, numbers).map("-".join) | numbers
parts = spans | st.tuples(spans, st.integers(0, 30).map(str)).map("/".join)
fields = parts | st.lists(parts, min_size=2, max_size=3).map(",".join)


@st.composite
def sensible(draw: st.DrawFn, number: int) -> str:
    """A field that the documentation knows."""
    lowest, highest = BOUNDS[number]
    first = draw(st.integers(lowest, highest))
    last = draw(st.integers(first, highest))
    step = draw(st.integers(1, 20))
    choices = ["*", f"*/{step}", f"{first}", f"{first}-{last}", f"{first}/{step}"]
    return draw(st.sampled_from([*choices, f"{first},{last}"]))


hours = st.sampled_from(["*", "1", "2", "0-3", "*/2", "1,2"])
expressions = st.tuples(
    sensible(0), hours, st.just("*") | sensible(2), st.just("*"), st.just("*") | sensible(4)
).map(" ".join)


@settings(deadline=None, max_examples=examples(50))
@given(st.integers(0, 4), fields)
def test_a_field_is_taken_exactly_if_the_documentation_knows_it(number: int, field: str) -> None:
    texts = ["*"] * 5
    texts[number] = field
    expression = " ".join(texts)
    try:
        cron.check(expression)
        taken = True
    except ValueError:
        taken = False
    assert taken == (values(field, number) is not None)


@settings(deadline=None, max_examples=examples(20))
@given(expressions, st.sampled_from(CHANGES))
def test_qstash_fires_in_each_minute_whose_clock_shows_a_time_of_it(
    expression: str, change: tuple[str, str]
) -> None:
    zone, start = change
    expected = [moment for moment, clock in clock_of(zone, start) if shows(expression, clock)]
    fires = Cron(f"CRON_TZ={zone} {expression}")
    at = datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp() * 1000
    for moment in expected:
        at = fires.after_ms(int(at)) or 0
        assert datetime.fromtimestamp(at / 1000, UTC) == moment


@settings(deadline=None, max_examples=examples(20))
@given(expressions, st.sampled_from(CHANGES))
def test_eventbridge_fires_once_at_each_time_that_the_clock_shows(
    expression: str, change: tuple[str, str]
) -> None:
    zone, start = change
    minute, hour, day, _, _ = expression.split()
    expression = f"{minute} {hour} {day} * *"
    expected = []
    shown = set()
    for moment, clock in clock_of(zone, start):
        wall = clock.replace(tzinfo=None)
        if shows(expression, clock) and wall not in shown:
            expected.append(moment)
        shown.add(wall)
    event = ScheduleEvent("s", f"cron({minute} {hour} {day} * ? *)", zone)
    at: datetime | None = datetime.fromisoformat(start).replace(tzinfo=UTC)
    for moment in expected:
        assert at is not None
        at = next_time(event, at)
        assert at == moment
