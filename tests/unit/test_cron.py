"""What a schedule's expression may be: what QStash's parser takes, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.qstash.cron import Cron
from infra.local.qstash.errors import ApiError
from stashjobs.producer import cron


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "? ? ? ? ?",
        "*/15 0-6/2 1,15 jan-MAR mon,WED,fri",
        "5/10 * * * *",
        "00 09 * * 0",
        "0 0 29 2 *",
        "0 0 31 2 1",
        "0 0 30 2,4 *",
        "@daily",
        " @hourly ",
    ],
)
def test_what_qstash_takes_is_taken(expression: str) -> None:
    cron.check(expression)
    assert Cron(expression).after_ms(0) is not None


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("0 9 * * 7", "day of week is '7': it must be from 0 to 6"),
        ("0 9 * * 5-7", "day of week is '5-7': it must be from 0 to 6"),
        ("99 9 * * *", "minute is '99': it must be from 0 to 59"),
        ("0 24 * * *", "hour is '24': it must be from 0 to 23"),
        ("0 0 0 * *", "day of month is '0': it must be from 1 to 31"),
        ("0 0 1 13 *", "month is '13': it must be from 1 to 12"),
        ("a b c d e", "minute is 'a': it is not a number"),
        ("0 0 L * *", "day of month is 'L': it is not a number"),
        ("0 0 15W * *", "day of month is '15W': it is not a number"),
        ("0 0 * * 1#2", "day of week is '1#2': it is not a number or a name"),
        ("0 0 * * monday", "day of week is 'monday': it is not a number or a name"),
        ("*/0 * * * *", "minute is '*/0': a step of 0"),
        ("30-10 * * * *", "minute is '30-10': 30 is after 10"),
        ("1-2-3 * * * *", "minute is '1-2-3': too many hyphens"),
        ("1,,2 * * * *", "minute is '': it is not a number"),
        ("-1 * * * *", "minute is '': it is not a number"),
        ("\u0661 * * * *", "minute is '\u0661': it is not a number"),
        ("0 0 31 2 *", "never fires: day of month '31' is in no month '2'"),
        ("0 0 31 feb,4,6 ?", "never fires"),
        ("* * * *", "must have five fields"),
        ("0 0 0 1 1 *", "must have five fields"),
        ("@reboot", "must have five fields"),
        ("", "must have five fields"),
    ],
)
def test_what_qstash_refuses_is_refused_and_the_field_is_named(
    expression: str, reason: str
) -> None:
    with pytest.raises(ValueError, match="cron") as caught:
        cron.check(expression)
    assert reason in str(caught.value)


parts = st.from_regex(
    r"(\*|\?|[0-9]{1,2}(-[0-9]{1,2})?|(mon|DEC)(-fri)?)(/[0-9]{1,2})?", fullmatch=True
)
fields = st.lists(parts, min_size=1, max_size=2).map(",".join)


@given(st.tuples(fields, fields, fields, fields, fields).map(" ".join))
def test_it_agrees_with_the_local_qstash_on_any_five_fields(expression: str) -> None:
    assert _is_taken(expression) == _is_taken_by_qstash(expression)


def _is_taken(expression: str) -> bool:
    try:
        cron.check(expression)
    except ValueError as error:
        return "never fires" in str(error)
    return True


def _is_taken_by_qstash(expression: str) -> bool:
    try:
        Cron(expression)
    except ApiError:
        return False
    return True
