"""The wait between two attempts as QStash takes it: an expression of its own small language,
checked where a type is declared and not first by QStash (Upstash docs, "Retry", "Custom Retry
Delay")."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ExpressionError(ValueError):
    """A delay expression cannot be parsed or computed."""


_FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "pow": (2, math.pow),
    "sqrt": (1, math.sqrt),
    "abs": (1, abs),
    "exp": (1, math.exp),
    "floor": (1, lambda x: float(math.floor(x))),
    "ceil": (1, lambda x: float(math.ceil(x))),
    # Go's rounding, away from zero at a half; Python rounds a half to the even neighbour.
    "round": (1, lambda x: math.copysign(math.floor(abs(x) + 0.5), x)),
    "min": (2, min),
    "max": (2, max),
}
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|([-+*/%(),]))")
_MAX_LENGTH = 1000
_MAX_NESTING = 50
# Beyond, QStash's limit of a day makes all waits the same.
_RETRIES_TRIED = 20
# No wait of QStash's between two attempts is longer (Upstash docs, "Retry").
MAX_WAIT_SECONDS = 86_400.0


def check(expression: str, retries: int) -> None:
    """Return if QStash takes the expression and it is a time for each of the retries.

    Raises:
        ValueError: It is not; the message says what is wrong.
    """
    for retried in range(max(1, min(retries, _RETRIES_TRIED))):
        if (milliseconds := evaluate(expression, retried)) < 0:
            raise ExpressionError(f"it is {milliseconds:g} ms where retried is {retried}")


def seconds_after(retried: int, expression: str | None) -> float:
    """How long QStash waits after a failed delivery that had `retried` retries before it, in
    seconds: by the expression or, where it is None, by QStash's own backoff, which is
    `min(86400, e ** (2.5 * n))` for the n-th retry (Upstash docs, "Retry")."""
    if expression is not None:
        try:
            return min(MAX_WAIT_SECONDS, max(0.0, evaluate(expression, retried) / 1000))
        except ExpressionError:
            pass  # at this `retried` alone; QStash does without the expression then
    return min(MAX_WAIT_SECONDS, math.exp(min(2.5 * (retried + 1), 12)))


def evaluate(expression: str, retried: int) -> float:
    """Milliseconds from a delay expression. Never runs code."""
    parser = _Parser(_tokens(expression), retried)
    try:
        value = parser.sum(0)
        parser.end()
    except (ArithmeticError, ValueError) as error:
        raise ExpressionError(str(error)) from error
    if not math.isfinite(value):
        raise ExpressionError("not a finite number")
    return value


def _tokens(expression: str) -> list[str]:
    if len(expression) > _MAX_LENGTH:
        raise ExpressionError("too long")
    tokens, position = [], 0
    text = expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unexpected {text[position]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent: sum, product, unary, atom."""

    def __init__(self, tokens: list[str], retried: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._retried = retried

    def sum(self, depth: int) -> float:
        value = self._product(depth)
        while self._peek() in {"+", "-"}:
            sign = 1 if self._next() == "+" else -1
            value += sign * self._product(depth)
        return value

    def _product(self, depth: int) -> float:
        value = self._unary(depth)
        while (operator := self._peek()) in {"*", "/", "%"}:
            self._next()
            right = self._unary(depth)
            if operator == "*":
                value *= right
            elif operator == "/":
                value /= right
            else:
                value = math.fmod(value, right)
        return value

    def _unary(self, depth: int) -> float:
        negative = False
        while self._peek() in {"+", "-"}:
            negative ^= self._next() == "-"
        value = self._atom(depth)
        return -value if negative else value

    def _atom(self, depth: int) -> float:
        if depth > _MAX_NESTING:
            raise ExpressionError("nested too deeply")
        symbol = self._next()
        if symbol == "(":
            value = self.sum(depth + 1)
            self._expect(")")
            return value
        if symbol == "retried":
            return float(self._retried)
        if symbol in _FUNCTIONS:
            return self._call(symbol, depth)
        if symbol[0].isdigit() or symbol[0] == ".":
            return float(symbol)
        raise ExpressionError(f"unexpected {symbol!r}")

    def _call(self, name: str, depth: int) -> float:
        count, function = _FUNCTIONS[name]
        self._expect("(")
        arguments = [self.sum(depth + 1)]
        while self._peek() == ",":
            self._next()
            arguments.append(self.sum(depth + 1))
        self._expect(")")
        if len(arguments) != count:
            raise ExpressionError(f"{name} takes {count} arguments")
        return float(function(*arguments))

    def end(self) -> None:
        if self._peek():
            raise ExpressionError(f"unexpected {self._peek()!r}")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        symbol = self._peek()
        if not symbol:
            raise ExpressionError("unexpected end")
        self._at += 1
        return symbol

    def _expect(self, symbol: str) -> None:
        if self._next() != symbol:
            raise ExpressionError(f"expected {symbol!r}")
