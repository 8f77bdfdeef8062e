"""OpenTelemetry: one trace from an enqueue through QStash to the worker and its SQL.

Off, and nothing of OpenTelemetry imported, until `OTEL_EXPORTER_OTLP_ENDPOINT` is set. A process
that has a tracer provider of its own keeps it; the others get one that sends spans by OTLP over
HTTP. Names and attributes follow OpenTelemetry's semantic conventions, "Messaging spans" and
"Database client spans". The context of an enqueue travels as W3C `traceparent` among the headers
that the job's row has QStash forward, so the relay forwards it too.

No attribute says what a payload, a parameter of a statement or an error's message says.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import psycopg

from stashjobs.config import settings
from stashjobs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span, SpanKind, Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
# The W3C's: the context of the producer (Trace Context, sections 3.2 and 3.3).
CONTEXT_HEADERS = ("traceparent", "tracestate")
# An answer waits for the export of its spans; a collector that is away must not cost more.
EXPORT_SECONDS = 2.0

# The function that a statement calls, or what its leading comment names it.
_NAME = re.compile(r"\s*--\s*(\w+)\s*\n|.*?\bstashjobs\.(\w+)\(", re.DOTALL)
_FIRST_WORD = re.compile(r"[A-Za-z]+")

log = logging.getLogger("stashjobs")


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer() is not None


@contextlib.contextmanager
def sending(job_types: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """A span around an enqueue. Gives the headers that make its deliveries part of the trace; none
    while tracing is off.

    Args:
        job_types: The type of each of its jobs.
    """
    tracer = _tracer()
    if tracer is None:
        yield {}
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    destination = job_types[0] if len(set(job_types)) == 1 else None
    attributes: dict[str, Any] = _messaging("send", destination)
    if len(job_types) > 1:
        attributes["messaging.batch.message_count"] = len(job_types)
    try:
        with _span(tracer, _name("send", destination), SpanKind.PRODUCER, attributes):
            headers: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(headers)
            yield headers
    finally:
        flush()


@contextlib.contextmanager
def processing(
    job_type: str,
    *,
    headers: Mapping[str, str],
    message_id: str | None,
    request_id: str,
    began: float,
) -> Iterator[Processing]:
    """A span around one delivery, in the trace of the enqueue where `headers` have one.

    Args:
        job_type: The type of the job.
        headers: Those of the request, by their names in lower case.
        message_id: QStash's.
        request_id: Lambda's.
        began: When the delivery began, in Unix seconds.
    """
    tracer = _tracer()
    if tracer is None:
        yield Processing(None)
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: headers[name] for name in CONTEXT_HEADERS if name in headers}
    parent = TraceContextTextMapPropagator().extract(carrier) if carrier else None
    sender = trace.get_current_span(parent).get_span_context() if carrier else None
    attributes: dict[str, Any] = _messaging("process", job_type)
    attributes["faas.invocation_id"] = request_id
    if message_id is not None:
        attributes["messaging.message.id"] = message_id
    with _span(
        tracer,
        _name("process", job_type),
        trace.SpanKind.CONSUMER,
        attributes,
        context=parent,
        # The link is what the conventions ask for, the parent what makes it one trace.
        links=[trace.Link(sender)] if sender is not None and sender.is_valid else [],
        start_time=int(began * 1e9),
    ) as span:
        yield Processing(span)


class Processing:
    """The span of a delivery; while tracing is off, nothing."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    @property
    def trace_id(self) -> str | None:
        """As traces are found by: 32 hexadecimal digits."""
        if self._span is None:
            return None
        return format(self._span.get_span_context().trace_id, "032x")

    def ended(self, outcome: str, error: str | None, keys: Mapping[str, Any]) -> None:
        """Say how it ended, with what type of error, and of which job it was.

        Args:
            outcome: As the metrics name it.
            error: The type of the error, if there was one.
            keys: `log.delivery_keys`, of which the job's id and attempt are told.
        """
        if self._span is None:
            return
        self._span.set_attribute("stashjobs.outcome", outcome)
        for name in ("job_id", "attempt"):
            if name in keys:
                self._span.set_attribute(f"stashjobs.{name}", keys[name])
        if error is not None:
            _fail(self._span, error)


@contextlib.contextmanager
def statement(query: object) -> Iterator[None]:
    """A span around a statement, within whatever span there is."""
    from opentelemetry import trace

    tracer = _tracer()
    if tracer is None or not trace.get_current_span().is_recording():
        yield  # a trace of one statement would say nothing
        return
    name = _summary(query)
    attributes: dict[str, Any] = {"db.system.name": "postgresql", "db.query.summary": name}
    with _span(tracer, name, trace.SpanKind.CLIENT, attributes) as span:
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate is not None:
                span.set_attribute("db.response.status_code", error.sqlstate)
            raise


class TracedCursor(psycopg.Cursor[Any]):
    """A cursor whose statements are spans within whatever span there is."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> TracedCursor:
        with statement(query):
            return super().execute(query, params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        with statement(query):
            super().executemany(query, params_seq, **options)


def traces(connection: psycopg.Connection[Any]) -> bool:
    """Whether the statements of this connection are spans."""
    return issubclass(connection.cursor_factory, TracedCursor)


def cursor_factory() -> type[TracedCursor] | None:
    """What a connection makes its cursors of. None, psycopg's own, while tracing is off."""
    return TracedCursor if is_on() else None


def flush(remaining_seconds: float = float("inf")) -> None:
    """Send what has ended before Lambda freezes the process. Nothing where the process lives on,
    within another span, or where there is no time for it; then the next flush does it."""
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ or not is_on():
        return
    from opentelemetry import trace

    if trace.get_current_span().is_recording() or remaining_seconds < EXPORT_SECONDS:
        return
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush(int(EXPORT_SECONDS * 1000))


# --- spans


@contextlib.contextmanager
def _span(
    tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, Any], **options: Any
) -> Iterator[Span]:
    """The current span for the block. Of an error only its type is kept: its words may repeat what
    is secret."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
        **options,
    ) as span:
        try:
            yield span
        except BaseException as error:
            _fail(span, type(error).__qualname__)
            raise


def _fail(span: Span, error: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _messaging(operation: str, destination: str | None) -> dict[str, Any]:
    attributes = {
        "messaging.system": "qstash",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
    }
    return attributes | ({"messaging.destination.name": destination} if destination else {})


def _name(operation: str, destination: str | None) -> str:
    return operation if destination is None else f"{operation} {destination}"


def _summary(query: object) -> str:
    """A statement of ours by its name, another by its first word. Never its text, in which a job
    may have put what it should have given as a parameter."""
    text = query.decode(errors="replace") if isinstance(query, bytes) else str(query)
    if (named := _NAME.match(text)) is not None:
        return str(named[1] or named[2])
    first = _FIRST_WORD.match(text.lstrip()) if isinstance(query, str | bytes) else None
    return first[0].upper() if first else "SQL"


# --- on and off


def _tracer() -> Tracer | None:
    try:
        endpoint = settings.optional(ENDPOINT)
    except SettingError:  # unknown; the code that needs the secret reports it
        endpoint = None
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    return _start()


@functools.cache
def _start() -> Tracer | None:
    try:
        from opentelemetry import trace

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(_provider())
    except ImportError as error:
        log.warning(
            "%s is set and there is no trace: %s is not installed, see docs/monitoring.md",
            ENDPOINT,
            error.name,
        )
        return None
    return trace.get_tracer("stashjobs")


def _provider() -> Any:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    about = {
        "service.name": function or "stashjobs",
        "deployment.environment.name": settings.stage(),
        **({"faas.name": function, "cloud.provider": "aws"} if function else {}),
    }
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes last, so it wins.
    resource = Resource.create(about).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", _Exporter())))
    return provider


class _Exporter:
    """Sends spans to where the settings lead now, since they may be rotated."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        endpoint = settings.known(ENDPOINT)
        if endpoint is None:
            return SpanExportResult.FAILURE
        return _exporter(endpoint, settings.known(HEADERS) or "").export(spans)

    def shutdown(self) -> None:
        _exporter.cache_clear()


def forget() -> None:
    """Forget where spans go, with the secret of its headers."""
    _exporter.cache_clear()


@functools.lru_cache(maxsize=1)
def _exporter(endpoint: str, headers: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # name=value,name=value, percent-encoded (OpenTelemetry specification, "OTLP exporter").
    pairs = [entry.partition("=") for entry in headers.split(",") if "=" in entry]
    return OTLPSpanExporter(
        f"{endpoint.rstrip('/')}/v1/traces",
        headers={name.strip().lower(): unquote(value.strip()) for name, _, value in pairs},
        timeout=EXPORT_SECONDS,
    )
