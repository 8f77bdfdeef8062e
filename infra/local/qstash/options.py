"""The headers of a publish request, read and validated (OpenAPI, `/v2/publish/{destination}`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stashjobs.producer import retry_delay

from .duration import parse_seconds
from .errors import ApiError, bad_request, not_found, quota_exceeded
from .model import Delivery, FlowControl, Headers, Limits, Redact

if TYPE_CHECKING:
    from collections.abc import Iterable

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
MAX_PERIOD_SECONDS = 7 * 86400  # SDK, `FlowControl.period`: "at most a week"

# With `Upstash-Header-Forward: true` everything is forwarded except what belongs to the publish
# request itself; the Authorization header there holds the QStash token.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)


def canonical(name: str) -> str:
    """Go's canonical header name, which QStash reports: `test-header` is `Test-Header`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def collect(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers by lower-case name, values in order."""
    collected: Headers = {}
    for name, value in headers:
        collected.setdefault(name.lower(), []).append(value)
    return collected


class Options:
    """Typed access to the `Upstash-*` headers of one request; names are lower case."""

    def __init__(self, headers: Headers, limits: Limits) -> None:
        self._headers = headers
        self._limits = limits

    def delivery(self, body: bytes, caller_ip: str, now_ms: int) -> Delivery:
        """The validated message settings; raises ApiError."""
        if len(body) > self._limits.max_message_bytes:
            # 413 and the quota's name are undocumented; the wording is that of other quotas.
            raise quota_exceeded("maxMessageSize", self._limits.max_message_bytes, 413)
        if self.text("upstash-workflow-init") is not None:
            raise bad_request(
                "Upstash Workflow is not part of this local QStash (docs/local.md);"
                " use Upstash's own dev server for it"
            )
        delay = self._seconds("upstash-delay") or 0
        not_before = self._not_before()
        wait = delay if not_before is None else not_before - now_ms // 1000
        if wait > self._limits.max_delay_seconds:
            raise quota_exceeded("maxDelay", self._limits.max_delay_seconds)
        return Delivery(
            body=body,
            method=self._method(),
            headers=self.forwarded(),
            max_retries=self._retries(),
            retry_delay=self._retry_delay(),
            timeout=self._timeout(),
            delay=delay,
            not_before=None if not_before is None else not_before * 1000,
            callback=self._callback("upstash-callback"),
            failure_callback=self._callback("upstash-failure-callback"),
            callback_options=self._callback_options("upstash-callback-"),
            failure_callback_options=self._callback_options("upstash-failure-callback-"),
            labels=self._labels(),
            flow_control=self._flow_control(),
            redact=self._redact(),
            deduplication_id=self._deduplication_id(),
            caller_ip=caller_ip,
        )

    def text(self, name: str) -> str | None:
        """The header's value, or None where it is absent or empty."""
        values = self._headers.get(name)
        return values[0].strip() or None if values else None

    def flag(self, name: str) -> bool:
        """A boolean, in the spellings of Go's `strconv.ParseBool`."""
        value = self.text(name)
        if value is None or value in {"0", "f", "F", "false", "FALSE", "False"}:
            return False
        if value in {"1", "t", "T", "true", "TRUE", "True"}:
            return True
        raise _invalid(name, value)

    def forwarded(self) -> Headers:
        """Headers for the destination: Content-Type, then `Upstash-Forward-*` without prefix."""
        forwarded: Headers = {}
        if content_type := self.text("content-type"):
            forwarded["Content-Type"] = [content_type]
        if self.flag("upstash-header-forward"):
            for name, values in self._headers.items():
                if name not in _OWN_HEADERS and not name.startswith("upstash-"):
                    forwarded[canonical(name)] = list(values)
        prefix = "upstash-forward-"
        for name, values in self._headers.items():
            if name.startswith(prefix) and name != prefix:
                forwarded[canonical(name.removeprefix(prefix))] = list(values)
        return forwarded

    def _method(self) -> str:
        method = (self.text("upstash-method") or "POST").upper()
        if method not in METHODS:
            raise _invalid("upstash-method", method)
        return method

    def _retries(self) -> int:
        value = self.text("upstash-retries")
        if value is None:
            return min(3, self._limits.max_retries)
        if not _is_number(value):
            raise _invalid("upstash-retries", value)
        if int(value) > self._limits.max_retries:
            raise quota_exceeded("maxRetries", self._limits.max_retries)
        return int(value)

    def _retry_delay(self) -> str | None:
        expression = self.text("upstash-retry-delay")
        if expression is not None:
            try:
                retry_delay.evaluate(expression, retried=1)
            except retry_delay.ExpressionError as error:
                raise _invalid("upstash-retry-delay", expression) from error
        return expression

    def _timeout(self) -> int | None:
        timeout = self._seconds("upstash-timeout")
        # "This parameter can be used to shorten the default allowed timeout value on your plan."
        return None if timeout is None else min(timeout, self._limits.max_timeout_seconds)

    def _seconds(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        seconds = parse_seconds(value)
        if seconds is None:
            raise _invalid(name, value)
        return seconds

    def _not_before(self) -> int | None:
        value = self.text("upstash-not-before")
        if value is None:
            return None
        if not _is_number(value):
            raise _invalid("upstash-not-before", value)
        return int(value)

    def _callback(self, name: str) -> str | None:
        url = self.text(name)
        if url is None:
            return None
        check_url(url, "callback" if name == "upstash-callback" else "failure callback")
        # Changelog, March 2025: "messages with delayed callbacks [...] are explicitly rejected".
        # The words are undocumented.
        if self.text(f"{name}-delay") or self.text(f"{name}-not-before"):
            raise bad_request(f"{canonical(name)}-Delay is not supported")
        return url

    def _callback_options(self, prefix: str) -> Headers:
        options = {
            f"upstash-{name.removeprefix(prefix)}": list(values)
            for name, values in self._headers.items()
            # A callback has no callbacks of its own.
            if name.startswith(prefix)
            and not name.startswith((f"{prefix}callback", f"{prefix}failure-callback"))
        }
        if options:
            Options(options, self._limits).delivery(b"", "", 0)  # refuse now rather than later
        return options

    def _labels(self) -> list[str]:
        values = ",".join(self._headers.get("upstash-label", ()))
        return [label.strip() for label in values.split(",") if label.strip()]

    def _deduplication_id(self) -> str | None:
        value = self.text("upstash-deduplication-id")
        if value is not None and ":" in value:
            raise bad_request("DeduplicationId cannot contain ':'")
        return value

    def _flow_control(self) -> FlowControl | None:
        key = self.text("upstash-flow-control-key")
        value = self.text("upstash-flow-control-value")
        if key is None and value is None:
            return None
        if key is None or value is None:
            raise bad_request(
                "Upstash-Flow-Control-Key and Upstash-Flow-Control-Value must be given together"
            )
        control = FlowControl(key)
        for part in value.split(","):
            name, _, setting = part.partition("=")
            _set_flow_control(control, name.strip().lower(), setting.strip())
        if control.parallelism is None and control.rate is None:
            raise _invalid("upstash-flow-control-value", value)
        return control

    def _redact(self) -> Redact | None:
        value = self.text("upstash-redact-fields")
        if value is None:
            return None
        redact = Redact()
        for name in (part.strip() for part in value.split(",")):
            single = re.fullmatch(r"headers?\[([^\]]+)\]", name)
            if single:
                redact.headers.append(canonical(single.group(1).strip()))
            elif name == "body":
                redact.body = True
            elif name in {"header", "headers"}:  # the SDKs send the singular
                redact.all_headers = True
            else:
                raise _invalid("upstash-redact-fields", value)
        return redact


def _set_flow_control(control: FlowControl, name: str, setting: str) -> None:
    if name == "period":
        seconds = int(setting) if _is_number(setting) else parse_seconds(setting)
        if seconds is None or not 1 <= seconds <= MAX_PERIOD_SECONDS:
            raise _invalid("upstash-flow-control-value", f"period={setting}")
        control.period = seconds
        return
    if not _is_number(setting) or int(setting) < 1:
        raise _invalid("upstash-flow-control-value", f"{name}={setting}")
    if name == "parallelism":
        control.parallelism = int(setting)
    elif name in {"rate", "ratepersecond"}:  # the second is the JS SDK's older name
        control.rate = int(setting)
    else:
        raise _invalid("upstash-flow-control-value", name)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _invalid(name: str, value: str) -> ApiError:
    """400 that names the field (Changelog, December 2024); the words are undocumented."""
    return bad_request(f"invalid {canonical(name)} header: {value}")


def check_destination(destination: str) -> None:
    """Refuse what is neither a URL nor, by its name, a URL group that exists."""
    if not destination:
        raise bad_request("a non-empty destination must be provided")
    if re.fullmatch(r"[A-Za-z0-9_-]+", destination):
        raise not_found("topic", destination)
    check_url(destination)


def check_url(url: str, what: str = "destination") -> None:
    """Refuse what cannot be a destination, in QStash's words for the missing scheme."""
    if not url.startswith(("http://", "https://")):
        raise bad_request(
            f"invalid {what} url: endpoint has invalid scheme, add http:// or https://"
        )
    if not re.match(r"https?://[^/?#\s]+([/?#]|$)", url):
        raise bad_request(f"invalid {what} url: endpoint has no host")  # undocumented
