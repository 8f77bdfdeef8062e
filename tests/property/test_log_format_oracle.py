"""A line of the log is what Powertools' own formatter would have made of it, letter for letter."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from aws_lambda_powertools.logging.formatter import (
    RESERVED_LOG_ATTRS,
    LambdaPowertoolsFormatter,
)
from hypothesis import given
from hypothesis import strategies as st

from stashjobs.observability.log import DELIVERY_KEYS
from stashjobs.observability.log_format import Formatter

PATTERNS = {"level": "<%(levelname)s>", "location": "%(funcName)s", "timestamp": "%(asctime)s Z"}
OTHERS = sorted({*RESERVED_LOG_ATTRS} - {*PATTERNS})
SPECIAL = ["exception", "exception_name", "stack_trace", "xray_trace_id", "service", "message"]

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just({1, 2}),  # no JSON, so it is written by `str`
)
names = st.one_of(st.sampled_from([*DELIVERY_KEYS, *SPECIAL]), st.text(min_size=1))
own_keys = st.dictionaries(names.filter(lambda name: name not in RESERVED_LOG_ATTRS), values)
patterns = st.dictionaries(st.sampled_from([*PATTERNS]), st.none()) | st.sampled_from(
    [{}, PATTERNS]
)
reserved = st.dictionaries(st.sampled_from(OTHERS), st.just("%(name)s") | st.none(), max_size=1)
messages = st.one_of(
    st.sampled_from(
        ["processing", "completed", "failed", "not claimed", "null", "NaN", "3", " [1]", "Infinity"]
    ),
    st.text(),
    values,
)


def record_of(
    message: Any,
    *,
    level: int = logging.INFO,
    args: tuple[Any, ...] = (),
    created: float = 1795521988.019,
    error: BaseException | None = None,
    extra: dict[str, Any] | None = None,
) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.getLogger("any").makeRecord(
        "stashjobs", level, __file__, 7, message, args, info, "function", extra
    )
    made.created, made.msecs = created, float(int((created - int(created)) * 1000))
    return made


def both(record: logging.LogRecord, *keys: dict[str, Any]) -> tuple[str, str]:
    """The line as ours and as Powertools' own formatter makes it."""
    ours, theirs = Formatter(), LambdaPowertoolsFormatter(utc=True)
    for each in keys:
        ours.append_keys(**each)
        theirs.append_keys(**each)
    return ours.format(record), theirs.format(record)


@given(
    message=messages,
    keys=own_keys,
    replaced=patterns,
    odd=reserved,
    extra=own_keys,
    level=st.sampled_from([10, 20, 30, 40, 50, 17]),
    created=st.floats(0, 4e9),
)
def test_any_line_is_the_same(
    message: Any,
    keys: dict[str, Any],
    replaced: dict[str, Any],
    odd: dict[str, Any],
    extra: dict[str, Any],
    level: int,
    created: float,
) -> None:
    extra = {name: extra[name] for name in extra if name not in {"message", "asctime"}}
    record = record_of(message, level=level, created=created, extra=extra)
    ours, theirs = both(record, {"service": "stashjobs"}, keys, replaced, odd)
    assert ours == theirs


@pytest.mark.parametrize("trace", ["Root=1-a;Parent=b;Sampled=1", "Root=1-a", ""])
@pytest.mark.parametrize("key", [{}, {"xray_trace_id": None}, {"xray_trace_id": "mine"}])
def test_the_trace_of_x_ray_is_on_it(
    monkeypatch: pytest.MonkeyPatch, trace: str, key: dict[str, Any]
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    ours, theirs = both(record_of("processing"), key)
    assert ours == theirs
    assert ("1-a" in ours) == (bool(trace) and key != {"xray_trace_id": None})


@pytest.mark.parametrize("values", [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ("a", "b")])
def test_a_key_that_changes_is_read_anew(values: tuple[Any, ...]) -> None:
    """Also where the two are equal to Python."""
    ours, theirs = Formatter(), LambdaPowertoolsFormatter(utc=True)
    for value in values:
        for each in (ours, theirs):
            each.append_keys(key=value)
        record = record_of("processing")
        assert ours.format(record) == theirs.format(record)


def test_a_line_with_arguments_is_the_same() -> None:
    ours, theirs = both(record_of("read %s of %d", args=("it", 3)))
    assert ours == theirs
    assert '"read it of 3"' in ours


def test_a_line_with_an_error_is_the_same() -> None:
    try:
        raise OSError("no")
    except OSError as error:
        error.add_note("a note")
        ours, theirs = both(record_of("broke", error=error))
    assert ours == theirs
    assert "stack_trace" in ours


def test_keys_of_one_thread_are_on_it() -> None:
    formatter = LambdaPowertoolsFormatter(utc=True)
    formatter.thread_safe_append_keys(tenant="a")
    try:
        ours, theirs = both(record_of("processing"))
    finally:
        formatter.thread_safe_clear_keys()
    assert ours == theirs
    assert '"tenant":"a"' in ours


def test_the_lines_of_a_second_share_all_but_the_milliseconds() -> None:
    ours, theirs = Formatter(), LambdaPowertoolsFormatter(utc=True)
    for created in (1795521988.001, 1795521988.999, 1795521989.5, 1795521988.25, 0.0):
        record = record_of("processing", created=created)
        assert ours.format(record) == theirs.format(record)


@pytest.mark.filterwarnings("ignore:POWERTOOLS_DEV")
def test_pretty_lines_of_a_developer_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_DEV", "true")
    ours, theirs = both(record_of("processing"), {"job_id": "j"})
    assert ours == theirs
    assert "\n" in ours


def test_an_asyncio_task_is_on_it_where_python_knows_it() -> None:
    record = record_of("processing")
    if sys.version_info >= (3, 12):
        assert "taskName" in vars(record)
    record.taskName = "Task-1"
    ours, theirs = both(record)
    assert ours == theirs
    assert '"taskName":"Task-1"' in ours
