"""The line of a log, letter for letter as Powertools formats it, in a fraction of the time.

A warm delivery writes two lines, and to have them formatted by `LambdaPowertoolsFormatter` cost
more than anything else that it does in Python. A module of its own, since only a process that logs
has Powertools.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging.formatter import (
    RESERVED_LOG_ATTRS,
    LambdaPowertoolsFormatter,
)

if TYPE_CHECKING:
    import logging

# Powertools' is a tuple, in which every attribute of a record would be searched for.
_RESERVED = frozenset(RESERVED_LOG_ATTRS)
# What a line says of its own, and Powertools' patterns for it.
_OF_THE_LINE = {
    "level": "%(levelname)s",
    "location": "%(funcName)s:%(lineno)d",
    "message": None,
    "timestamp": "%(asctime)s",
}
# What Powertools puts in or takes out, whatever a key of this name says.
_SPECIAL = frozenset({*_OF_THE_LINE, "exception_notes", "stack_trace", "xray_trace_id"})
# Values that nobody can change under our hands, and that are equal only where they read the same.
_FIXED = (str, int, type(None))
# How JSON begins: a message that is JSON is logged as what it says.
_JSON_BEGINS = frozenset('{["-0123456789tfnNI \t\r\n')


class Formatter(LambdaPowertoolsFormatter):
    """Powertools' formatter, in UTC. What is out of the ordinary is left to it."""

    def __init__(self) -> None:
        super().__init__(utc=True)
        self._second, self._stamp = -1, ""  # the last line's, `_timestamp`
        self._keys: tuple[tuple[str, Any], ...] = ()  # the last line's, `_template`
        self._types: tuple[type, ...] = ()
        self._filled_in: str | None = None
        if self.json_indent is None:
            # What `json.dumps` does, which makes an encoder for every line.
            self.json_serializer = json.JSONEncoder(
                default=self.json_default, separators=(",", ":"), ensure_ascii=False
            ).encode

    def format(self, record: logging.LogRecord) -> str:
        said = record.__dict__
        extra = {name: said[name] for name in said if name not in _RESERVED}
        template = self._template()
        if template is None or self._is_unusual(record, extra):
            return super().format(record)
        encode: Any = self.json_serializer
        line = template % (
            encode(record.levelname),
            encode(f"{record.funcName}:{record.lineno}"),
            encode(record.msg),
            self._timestamp(record),
        )
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):
            extra["xray_trace_id"] = trace.split(";")[0].replace("Root=", "")
        extra = {name: value for name, value in extra.items() if value is not None}
        return f"{line},{encode(extra)[1:]}" if extra else f"{line}}}"

    def _template(self) -> str | None:
        """A line but for its end and what it says of its own. The keys that are on every line are
        put together once, for as long as they are the same. None: they are out of the ordinary."""
        keys = tuple(self.log_format.items())
        types = tuple(map(type, self.log_format.values()))  # 1 == True
        if keys != self._keys or types != self._types:
            self._keys, self._types, self._filled_in = keys, types, self._fill_in(dict(keys))
        return self._filled_in

    def _fill_in(self, keys: dict[str, Any]) -> str | None:
        own = {name: keys.pop(name, name) for name in _OF_THE_LINE}
        if (
            own != _OF_THE_LINE
            or list(self.log_format)[: len(own)] != list(own)
            or self.json_indent is not None
            or not (_SPECIAL | _RESERVED).isdisjoint(keys)
            or not all(type(name) is str and type(keys[name]) in _FIXED for name in keys)
        ):
            return None
        known = {name: value for name, value in keys.items() if value is not None}
        text = "".join(f",{self.json_serializer({name: known[name]})[1:-1]}" for name in known)
        start = '{"level":%s,"location":%s,"message":%s,"timestamp":"%s"'
        return start + text.replace("%", "%%")

    def _is_unusual(self, record: logging.LogRecord, extra: dict[str, Any]) -> bool:
        """Whether there is more to it than keys and a sentence."""
        return (
            type(record.msg) is not str
            or record.msg[:1] in _JSON_BEGINS
            or bool(record.args or record.exc_info or self.thread_safe_get_current_keys())
            or not _SPECIAL.isdisjoint(extra)
            or not extra.keys().isdisjoint(self.log_format)
        )

    def _timestamp(self, record: logging.LogRecord) -> str:
        """Powertools' `2026-11-24 12:46:28,019+0000`. All but the milliseconds is kept for the next
        line of the same second."""
        second = int(record.created)
        if second != self._second:
            pattern = self.default_time_format.replace(self.custom_ms_time_directive, "{:03d}")
            self._stamp = time.strftime(pattern, time.gmtime(second))
            self._second = second
        return self._stamp.format(int(record.msecs))
