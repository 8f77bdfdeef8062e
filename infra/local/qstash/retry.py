"""When a failed delivery is tried again (docs: "Retry")."""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from .duration import parse_go_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_DELAY_SECONDS = 86400
_HEADERS = (
    "retry-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)


def default_backoff(retried: int) -> float:
    """Seconds before retry number `retried + 1`: `min(86400, e ** (2.5 * n))`."""
    exponent = 2.5 * (retried + 1)
    return float(MAX_DELAY_SECONDS) if exponent > 12 else min(MAX_DELAY_SECONDS, math.exp(exponent))


def delay_seconds(
    retried: int, expression: str | None, headers: Mapping[str, Sequence[str]], now: float
) -> float:
    """Seconds until the next attempt: the response's header, else the expression, else backoff."""
    asked = _asked_by_response(headers, now)
    if asked is not None:
        # "If you specify a value beyond this limit, the backoff algorithm will be applied."
        return asked if asked <= MAX_DELAY_SECONDS else default_backoff(retried)
    if expression is None:
        return default_backoff(retried)
    try:
        milliseconds = evaluate(expression, retried)
    except ExpressionError:
        return default_backoff(retried)  # undocumented: e.g. a division by zero at this `retried`
    return min(MAX_DELAY_SECONDS, max(0.0, milliseconds / 1000))


def _asked_by_response(headers: Mapping[str, Sequence[str]], now: float) -> float | None:
    lower = {name.lower(): values for name, values in headers.items()}
    for name in _HEADERS:
        for value in lower.get(name, ()):
            seconds = _seconds(value.strip(), now)
            if seconds is not None:
                return seconds
    return None


def _seconds(value: str, now: float) -> float | None:
    if re.fullmatch(r"\d+(?:\.\d+)?", value):
        return float(value)
    duration = parse_go_seconds(value)
    if duration is not None:
        return duration
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return None


class ExpressionError(ValueError):
    """`Upstash-Retry-Delay` cannot be parsed or computed."""


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


def evaluate(expression: str, retried: int) -> float:
    """Milliseconds from a delay expression (Retry, "Custom Retry Delay"). Never runs code."""
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
