from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.qstash.retry import ExpressionError, default_backoff, delay_seconds, evaluate


@pytest.mark.parametrize(
    ("retried", "seconds"), [(0, 12), (1, 148), (2, 1808), (3, 22026), (4, 86400), (5, 86400)]
)
def test_the_default_backoff_is_the_documented_table(retried: int, seconds: int) -> None:
    assert int(default_backoff(retried)) == seconds


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
    ["", "1 +", "(1", "1)", "retries", "pow(1)", "min(1, 2, 3)", "2 ** 3", "a.b", "1; 2", "'x'"],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, 0)


@pytest.mark.parametrize("expression", ["1 / retried", "sqrt(-1)", "exp(10000)", "pow(-8, 0.5)"])
def test_what_cannot_be_computed_falls_back_to_the_backoff(expression: str) -> None:
    assert delay_seconds(0, expression, {}, 0) == default_backoff(0)


@pytest.mark.parametrize("expression", ["(" * 500 + "1" + ")" * 500, "1" * 2000])
def test_a_monstrous_expression_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(expression, 0)


def test_a_delay_stays_within_a_day() -> None:
    assert delay_seconds(0, "1000000000", {}, 0) == 86400
    assert delay_seconds(0, "-5", {}, 0) == 0


def test_a_date_is_relative_to_now() -> None:
    header = {"retry-after": ["Thu, 01 Jan 1970 00:10:00 GMT"]}
    assert delay_seconds(0, None, header, 500) == 100
    assert delay_seconds(0, None, header, 900) == 0


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
