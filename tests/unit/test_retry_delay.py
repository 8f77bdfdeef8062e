"""A type's `retry_delay`: QStash's small language, checked where the type is declared."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stashjobs
from infra.local.qstash.retry import delay_seconds
from stashjobs.job_type import declared
from stashjobs.producer.retry_delay import ExpressionError, evaluate, seconds_after


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("foo(", "unexpected 'foo'"),
        ("pow(2", "unexpected end"),
        ("", "unexpected end"),
        ("5s", "unexpected 's'"),
        ("1000 / retried", "division by zero"),
        ("1000 - 2000 * retried", "it is -1000 ms where retried is 1"),
    ],
)
def test_an_expression_that_is_no_delay_is_refused_at_the_declaration(
    expression: str, reason: str
) -> None:
    with pytest.raises(ValueError, match="unit-delay: retry_delay is") as refusal:
        stashjobs.job("unit-delay", endpoint="/x", retry_delay=expression)
    assert reason in str(refusal.value)
    assert "unit-delay" not in {job.type for job in declared()}


@pytest.mark.parametrize("expression", ["0", "pow(2, retried) * 1000", "1000 * retried"])
def test_a_delay_is_taken(expression: str) -> None:
    stashjobs.job("unit-delay", endpoint="/x", retries=1_000_000, retry_delay=expression)


@pytest.mark.parametrize(
    ("expression", "retried", "milliseconds"),
    [
        ("1000", 0, 1000),
        ("1000 * (1 + retried)", 2, 3000),
        ("pow(2, retried) * 1000", 3, 8000),
        ("max(1000, pow(2, retried) * 100)", 0, 1000),
        ("min(pow(3, retried) * 1000, 300000)", 9, 300000),
        ("-2 - -3 + +4", 0, 5),
        ("2 + 3 * 4 % 5", 0, 4),
        ("sqrt(16) + abs(-1) + exp(0)", 0, 6),
        ("floor(1.9) + ceil(1.1) + round(2.5) + round(-2.5)", 0, 3),
        ("1e3 / .5", 0, 2000),
    ],
)
def test_an_expression_is_computed(expression: str, retried: int, milliseconds: float) -> None:
    assert evaluate(expression, retried) == milliseconds


@pytest.mark.parametrize(
    "expression",
    [
        *["", "1 +", "(1", "1)", "retries", "pow(1)", "min(1, 2, 3)", "2 ** 3", "a.b", "1; 2"],
        *["'x'", "(" * 500 + "1" + ")" * 500, "1" * 2000],
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, 0)


@given(st.text(alphabet="0123456789+-*/%()., retidpowmxasqbflcun", max_size=40), st.integers(0, 9))
def test_any_text_gives_a_number_or_an_expression_error(text: str, retried: int) -> None:
    try:
        assert math.isfinite(evaluate(text, retried))
    except ExpressionError:
        assert 0 <= delay_seconds(retried, text, {}, 0) <= 86400


_NUMBERS = st.integers(1, 999)


@given(_NUMBERS, _NUMBERS, _NUMBERS, st.integers(0, 9))
def test_precedence_is_arithmetic(a: int, b: int, c: int, retried: int) -> None:
    expected = a + b * c - retried / a
    assert evaluate(f"{a}+{b}*{c} - retried/{a}", retried) == pytest.approx(expected)
    assert evaluate(f"({a}+{b})*{c}", retried) == (a + b) * c


@pytest.mark.parametrize("expression", [None, "pow(2, retried) * 1000", "1000 / retried", "9e12"])
@pytest.mark.parametrize("retried", [0, 1, 2, 4, 5, 1_000])
def test_the_wait_is_the_one_that_qstash_makes(expression: str | None, retried: int) -> None:
    if expression == "pow(2, retried) * 1000" and retried == 1_000:
        retried = 30
    assert seconds_after(retried, expression) == delay_seconds(retried, expression, {}, 0)


def test_the_default_backoff_is_the_documented_one() -> None:
    waits = [round(seconds_after(retried, None)) for retried in range(5)]
    assert waits == [12, 148, 1808, 22026, 86400]
