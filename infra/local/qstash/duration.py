"""Durations: `10s`, `1d10h30m` in requests, and Go's `6m5s` in `Retry-After`."""

from __future__ import annotations

import re

_REQUEST = re.compile(r"(?:\d+[smhd])+")
_REQUEST_PART = re.compile(r"(\d+)([smhd])")
_REQUEST_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_GO = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_GO_UNIT = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> int | None:
    """Seconds of a request's duration (OpenAPI, `Upstash-Delay`), or None if it is not one."""
    text = text.strip()
    if not _REQUEST.fullmatch(text):
        return None
    return sum(int(value) * _REQUEST_UNIT[unit] for value, unit in _REQUEST_PART.findall(text))


def parse_go_seconds(text: str) -> float | None:
    """Seconds of a response header's duration (Retry, "Retry-After Headers")."""
    text = text.strip()
    if not _GO.fullmatch(text):
        return None
    return sum(float(value) * _GO_UNIT[unit] for value, unit in _GO_PART.findall(text))
