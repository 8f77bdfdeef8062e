"""The line of a log, letter for letter as Powertools formats it, in half the time.

A warm delivery writes two lines, and to have them formatted by `LambdaPowertoolsFormatter` cost
more than anything else that it does in Python. A module of its own, since only a process that logs
has Powertools.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from aws_lambda_powertools.logging.formatter import (
    RESERVED_LOG_ATTRS,
    LambdaPowertoolsFormatter,
)

if TYPE_CHECKING:
    import logging

# Powertools' is a tuple, in which every attribute of a record would be searched for.
_RESERVED = frozenset(RESERVED_LOG_ATTRS)
# The keys whose values are patterns to be filled in: `"%(levelname)s"`.
_PATTERNS = frozenset({"level", "location", "timestamp"})
# Were one of a job's own keys called like another attribute of a record, it would be a pattern too.
_UNUSUAL_KEYS = _RESERVED - _PATTERNS
# How JSON begins: a message that is JSON is logged as what it says.
_JSON_BEGINS = frozenset('{["-0123456789tfnNI \t\r\n')


class Formatter(LambdaPowertoolsFormatter):
    """Powertools' formatter, in UTC. What is out of the ordinary is left to it."""

    def __init__(self) -> None:
        super().__init__(utc=True)
        self._second, self._stamp = -1, ""  # the last line's, `_timestamp`
        if self.json_indent is None:
            # What `json.dumps` does, which makes an encoder for every line.
            self.json_serializer = json.JSONEncoder(
                default=self.json_default, separators=(",", ":"), ensure_ascii=False
            ).encode

    def format(self, record: logging.LogRecord) -> str:
        if self._is_unusual(record):
            return super().format(record)
        record.asctime = self._timestamp(record)
        said = record.__dict__
        line = {
            key: value % said if key in _PATTERNS and isinstance(value, str) else value
            for key, value in self.log_format.items()
        }
        line.update([pair for pair in said.items() if pair[0] not in _RESERVED])
        line["message"] = record.msg
        line["stack_trace"] = None  # of an error alone, whatever a key says
        line["xray_trace_id"] = self._xray_trace_id()
        return self.serialize({key: value for key, value in line.items() if value is not None})

    def _is_unusual(self, record: logging.LogRecord) -> bool:
        """Whether there is more to it than keys and a sentence."""
        return (
            type(record.msg) is not str
            or record.msg[:1] in _JSON_BEGINS
            or bool(record.args or record.exc_info or self.thread_safe_get_current_keys())
            or not _UNUSUAL_KEYS.isdisjoint(self.log_format)
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

    def _xray_trace_id(self) -> str | None:
        if self.log_format.get("xray_trace_id", "") is None:
            return None  # switched off
        given = os.environ.get("_X_AMZN_TRACE_ID")
        return given.split(";")[0].replace("Root=", "") if given else None
