"""Traces: from an enqueue through QStash to the worker and its SQL, as a collector gets them."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import stashjobs
from stashjobs import Context, RetryLater
from stashjobs.observability import tracing
from stashjobs.operators import retry_and_cancel
from stashjobs.recovery import relay
from stashjobs.store import database
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Table, delivery, handle, http_event, lambda_context, probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.integration.conftest import Log

CANARY = "tangerine-8846"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@stashjobs.job("traced", endpoint="/api/jobs/traced", retries=2)
def traced_job(payload: Any, context: Context) -> Any:
    if payload == "fail":
        raise OSError(CANARY)
    if payload == "later":
        raise RetryLater(5)
    if payload == "write":
        context.connection.execute("SELECT %s, '" + CANARY + "'", [CANARY])
    if payload == "break":
        context.connection.execute("SELECT 1 / 0")
    return payload


class Collector:
    """What has arrived by OTLP over HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        assert {request.path for request in self.server.received} <= {"/v1/traces"}
        return [ExportTraceServiceRequest.FromString(each.body) for each in self.server.received]

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def one(self, name: str) -> Span:
        [span] = [span for span in self.spans if span.name == name]
        return span


def attributes(span: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in span.attributes
    }


@pytest.fixture
def collector(table: Table, settings: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Tracing is on, in a Lambda, and the spans arrive here."""
    database.close()  # a connection is traced from its opening on
    settings.setenv("AWS_LAMBDA_FUNCTION_NAME", "stashjobs-local-traced")
    with serving() as server:
        settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        settings.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=secret%20key,x-team=jobs")
        yield Collector(server)
        database.close()


@pytest.fixture
def qstash(use_qstash: Callable[[str, str], None]) -> Iterator[Server]:
    """A QStash that remembers what it was asked to deliver."""
    with serving() as server:
        use_qstash(server.url, "a-token")
        yield server


def run(table: Table, payload: Any, *, headers: Mapping[str, str] | None = None) -> int:
    job_id = table.add(traced_job, payload)
    message = {"jobId": job_id, "type": "traced"}
    return handle(traced_job, delivery(message, **(headers or {}))).status


# --- one trace


def test_an_enqueue_its_delivery_by_qstash_and_the_sql_of_both_are_one_trace(
    table: Table,
    settings: pytest.MonkeyPatch,
    use_qstash: Callable[[str, str], None],
    collector: Collector,
) -> None:
    with qstash_running() as qstash, serving() as app:
        use_qstash(qstash.url, qstash.token)
        settings.setenv("BASE_URL", app.url)
        enqueued = traced_job.enqueue("write")
        [request] = app.wait()
        settings.setenv("QSTASH_CURRENT_SIGNING_KEY", qstash.current_signing_key)
        event = http_event(request.body, request.headers, path=request.path, domain="127.0.0.1")
        event["headers"] |= {
            "x-forwarded-proto": "http",
            "x-forwarded-port": app.url.rpartition(":")[2],
        }
        assert handle(traced_job, event).status == 200

    assert len({span.trace_id for span in collector.spans}) == 1
    sent, processed = collector.one("send traced"), collector.one("process traced")
    assert (sent.kind, processed.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CONSUMER)
    assert processed.parent_span_id == sent.span_id
    assert [link.span_id for link in processed.links] == [sent.span_id]
    assert attributes(processed)["stashjobs.job_id"] == enqueued.job_id
    within = {
        name: [span.name for span in collector.spans if span.parent_span_id == parent.span_id]
        for name, parent in (("send", sent), ("process", processed))
    }
    assert within["send"] == ["enqueue_many", "confirm_published", "process traced"]
    assert within["process"] == ["claim", "BEGIN", "SELECT", "complete", "COMMIT"]


def test_each_span_says_what_the_conventions_for_messaging_ask_for(
    table: Table, collector: Collector, qstash: Server
) -> None:
    traced_job.enqueue(1)
    run(table, 2)
    assert attributes(collector.one("send traced")) == {
        "messaging.system": "qstash",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "traced",
    }
    said = attributes(collector.one("process traced"))
    assert len(said.pop("stashjobs.job_id")) == 36
    assert len(said.pop("faas.invocation_id")) == 36
    assert said == {
        "messaging.system": "qstash",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "traced",
        "messaging.message.id": "msg_1",
        "stashjobs.outcome": "Completed",
        "stashjobs.attempt": 1,
    }
    assert attributes(collector.one("claim")) == {
        "db.system.name": "postgresql",
        "db.query.summary": "claim",
    }
    assert collector.one("claim").kind == Span.SPAN_KIND_CLIENT


def test_many_jobs_are_one_span_that_says_how_many(
    table: Table, collector: Collector, qstash: Server
) -> None:
    traced_job.enqueue_many([1, 2, 3])
    assert attributes(collector.one("send traced"))["messaging.batch.message_count"] == 3
    forwarded = {each["headers"]["Upstash-Forward-traceparent"] for each in qstash.messages}
    assert len(forwarded) == 1


def test_the_relay_forwards_the_context_of_the_producer(
    table: Table, settings: pytest.MonkeyPatch, collector: Collector, qstash: Server
) -> None:
    """Although it knows nothing of tracing itself."""
    qstash.status = 500
    assert not traced_job.enqueue(1).published
    sent = collector.one("send traced")
    qstash.status = 200
    qstash.received.clear()
    settings.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    relay.publish_unpublished(relay.Report(), time.time() + 10, quiet_seconds=0)
    [message] = qstash.messages
    context = message["headers"]["Upstash-Forward-traceparent"]
    assert context.startswith(f"00-{sent.trace_id.hex()}-{sent.span_id.hex()}-")


def test_a_manual_retry_belongs_to_the_trace_of_the_enqueue(
    table: Table, collector: Collector, qstash: Server
) -> None:
    job_id = traced_job.enqueue(1).job_id
    table.run(
        """UPDATE job_executions SET status = 'failed', error = 'no', completed_at = now()
            WHERE job_id = %s""",
        job_id,
    )
    retry_and_cancel.retry(job_id, actor="ada")
    first, again = (each["headers"]["Upstash-Forward-traceparent"] for each in qstash.messages)
    assert again == first


def test_a_context_of_the_callers_own_is_forwarded_as_it_is(
    table: Table, collector: Collector, qstash: Server
) -> None:
    traced_job.enqueue(1, headers={"Traceparent": PARENT})
    [message] = qstash.messages
    forwarded = {
        name.lower(): value for name, value in message["headers"].items() if "trace" in name.lower()
    }
    assert forwarded == {"upstash-forward-traceparent": PARENT}


def test_a_job_that_a_job_enqueues_belongs_to_its_trace(
    table: Table, collector: Collector, qstash: Server
) -> None:
    parent = probe(lambda _payload, context: context.enqueue(traced_job, 1).job_id)
    job_id = table.add(parent)
    handle(parent, delivery({"jobId": job_id, "type": "probe"}))
    assert collector.one("send traced").parent_span_id == collector.one("process probe").span_id


def test_the_trace_of_another_producer_goes_on(table: Table, collector: Collector) -> None:
    run(table, 1, headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    span = collector.one("process traced")
    assert f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01" == PARENT
    assert span.trace_state == "vendor=1"


@pytest.mark.parametrize("context", ["", "nonsense", "00-0-0-01", PARENT.replace("0af", "xyz")])
def test_a_context_that_is_none_begins_a_trace(
    table: Table, collector: Collector, context: str
) -> None:
    assert run(table, 1, headers={"traceparent": context}) == 200
    span = collector.one("process traced")
    assert span.parent_span_id == b""
    assert not span.links


def test_a_stranger_makes_no_spans(table: Table, collector: Collector) -> None:
    event = http_event(b'{"type": "traced"}', {"traceparent": PARENT})
    assert handle(traced_job, event).status == 401
    tracing.flush()
    assert collector.spans == []


def test_a_span_of_the_jobs_own_is_within_its_delivery(table: Table, collector: Collector) -> None:
    def work(_payload: Any, _context: Context) -> None:
        with trace.get_tracer("app").start_as_current_span("render"):
            pass

    job = probe(work)
    handle(job, delivery({"jobId": table.add(job), "type": "probe"}))
    assert collector.one("render").parent_span_id == collector.one("process probe").span_id


def test_the_lines_of_the_log_name_the_trace(table: Table, collector: Collector, log: Log) -> None:
    run(table, 1)
    run(table, 1)
    ids = [span.trace_id.hex() for span in collector.spans if span.name == "process traced"]
    assert [line["trace_id"] for line in log.lines if line["message"] == "completed"] == ids


# --- errors


@pytest.mark.parametrize(
    ("payload", "error", "outcome"),
    [("fail", "OSError", "Retried"), ("later", "RetryLater", "Retried")],
)
def test_an_error_is_told_by_its_type_alone(
    table: Table, collector: Collector, payload: str, error: str, outcome: str
) -> None:
    run(table, payload)
    span = collector.one("process traced")
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert span.status.message == ""
    assert attributes(span)["error.type"] == error
    assert attributes(span)["stashjobs.outcome"] == outcome
    assert not span.events


def test_a_statement_that_fails_has_its_sqlstate(table: Table, collector: Collector) -> None:
    run(table, "break")
    said = attributes(collector.one("SELECT"))
    assert said["db.response.status_code"] == "22012"
    assert said["error.type"] == "DivisionByZero"


def test_no_span_has_a_payload_a_statement_or_a_secret(
    table: Table, settings: pytest.MonkeyPatch, collector: Collector, qstash: Server
) -> None:
    settings.setenv("QSTASH_TOKEN", CANARY)
    traced_job.enqueue({"card": CANARY}, metadata={"note": CANARY}, headers={"X-Note": CANARY})
    for payload in ({"card": CANARY}, "write", "fail"):
        run(table, payload)
    assert len(collector.spans) > 10
    assert CANARY.encode() not in b"".join(each.body for each in collector.server.received)


# --- the way there


def test_the_spans_of_a_delivery_have_left_when_it_is_answered(
    table: Table, collector: Collector
) -> None:
    """Lambda freezes the process then. In one request."""
    run(table, 1)
    assert len(collector.server.received) == 1
    assert len(collector.spans) == 3
    [request] = collector.server.received
    assert request.headers["content-type"] == "application/x-protobuf"
    assert (request.headers["x-api-key"], request.headers["x-team"]) == ("secret key", "jobs")


def test_the_spans_say_which_system_they_are_of(table: Table, collector: Collector) -> None:
    run(table, 1)
    [request] = collector.requests
    said = attributes(request.resource_spans[0].resource)
    assert said["deployment.environment.name"] == "local"
    assert said["service.name"].startswith("stashjobs")


def test_without_time_for_it_the_spans_leave_with_the_next_delivery(
    table: Table, collector: Collector
) -> None:
    job_id = table.add(traced_job, 1)
    message = {"jobId": job_id, "type": "traced"}
    assert handle(traced_job, delivery(message), lambda_context(1.9)).status in {200, 503}
    assert collector.server.received == []
    run(table, 1)
    assert len([span for span in collector.spans if span.name == "process traced"]) == 2


def test_a_collector_that_refuses_does_not_change_what_a_job_does(
    table: Table, collector: Collector
) -> None:
    collector.server.status = 400
    assert run(table, 1) == 200


def test_the_round_trips_of_a_delivery_are_the_same_two(table: Table, collector: Collector) -> None:
    run(table, 1)
    assert [span.name for span in collector.spans] == [
        "claim",
        "complete",
        "process traced",
    ]


@pytest.mark.parametrize("how", ["unset", "disabled"])
def test_it_is_off_by_a_setting(
    table: Table,
    settings: pytest.MonkeyPatch,
    collector: Collector,
    qstash: Server,
    how: str,
) -> None:
    if how == "unset":
        settings.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    else:
        settings.setenv("OTEL_SDK_DISABLED", "true")
    traced_job.enqueue(1)
    run(table, 1, headers={"traceparent": PARENT})
    assert collector.server.received == []
    assert "traceparent" not in json.dumps(qstash.messages).lower()


def test_without_the_extra_the_jobs_run_and_the_log_says_what_to_do(
    table: Table, settings: pytest.MonkeyPatch, collector: Collector, log: Log
) -> None:
    settings.setitem(sys.modules, "opentelemetry", None)
    tracing._start.cache_clear()
    try:
        assert [run(table, 1), run(table, 1)] == [200, 200]
    finally:
        tracing._start.cache_clear()
    warnings = [line["message"] for line in log.lines if line["level"] == "WARNING"]
    assert len(warnings) == 1
    assert "opentelemetry is not installed, see docs/monitoring.md" in warnings[0]
