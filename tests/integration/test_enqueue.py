"""Enqueue: validated, then the row, then QStash."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from pydantic import BaseModel, ConfigDict, Field

import stashjobs
from stashjobs import Context, InvalidPayload, PayloadTooLarge, SettingError, encryption
from stashjobs.producer import enqueue, qstash_client
from stashjobs.producer.options import EnqueueOptions, Options
from stashjobs.store import database, outbox
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Table, deliver, handle, probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Log


class Greeting(BaseModel):
    name: str
    times: int = 1


class Kind(Enum):
    WARM = "warm"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime
    id: UUID
    kind: Kind
    pair: tuple[int, int]
    aliased: int = Field(alias="byAlias")


@dataclass
class Plain:
    at: datetime
    names: list[str]


@stashjobs.job("enqueue-any", endpoint="/api/jobs/any", retries=3, timeout=29.5)
def any_job(payload: Any, _context: Context) -> Any:
    return payload


@stashjobs.job("enqueue-greeting", endpoint="/api/jobs/greeting")
def greet(payload: Greeting, _context: Context) -> str:
    return payload.name


@stashjobs.job("enqueue-strict", endpoint="/api/jobs/strict")
def strict_job(payload: Strict, _context: Context) -> str:
    return f"{payload.at.isoformat()} {payload.id} {payload.kind.name} {payload.pair}"


@stashjobs.job("enqueue-plain", endpoint="/api/jobs/plain")
def plain_job(payload: Plain, _context: Context) -> str:
    return payload.at.isoformat()


@stashjobs.job(
    "enqueue-limited",
    endpoint="/api/jobs/limited",
    retries=5,
    timeout=60,
    retry_delay="pow(2, retried) * 1000",
    rate=(10, "1m"),
    parallelism=2,
)
def limited(payload: Any, _context: Context) -> None:
    """Has everything a type can ask of QStash."""


@pytest.fixture
def qstash(table: Table, use_qstash: Callable[[str], None]) -> Iterator[Server]:
    """What is published, byte for byte."""
    with serving() as server:
        use_qstash(server.url)
        yield server


def test_a_token_of_another_region_is_told_with_the_next_step(
    table: Table, use_qstash: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    with qstash_running() as server:
        use_qstash(server.url, "of-another-region")
        enqueued = any_job.enqueue({})
    assert not enqueued.published
    assert table.row(enqueued.job_id)["status"] == "pending"
    assert f"QStash at {server.url} does not know this token" in caplog.text
    assert "QSTASH_REGION (stashjobs doctor says which region knows it)" in caplog.text


# ------------------------------------------------------------------ the row


def test_an_enqueued_job_is_a_pending_row(table: Table, qstash: Server) -> None:
    enqueued = greet.enqueue(
        Greeting(name="Ada"), user_id="u_1", organization_id="o_1", metadata={"source": "signup"}
    )
    assert (enqueued.created, enqueued.published) == (True, True)
    row = table.row(enqueued.job_id)
    assert (row["job_type"], row["status"]) == ("enqueue-greeting", "pending")
    assert row["payload"] == {"name": "Ada", "times": 1}
    assert (row["user_id"], row["organization_id"]) == ("u_1", "o_1")
    assert row["metadata"] == {"source": "signup"}
    assert (row["attempt"], row["max_attempts"], row["retry_count"]) == (0, 4, 0)
    assert row["message_id"] == "msg_0"
    assert row["published_at"] >= row["created_at"]


def test_the_payload_may_be_the_json_object_that_its_model_reads(
    table: Table, qstash: Server
) -> None:
    enqueued = greet.enqueue({"name": "Ada", "times": "2", "unknown": 1})
    assert table.row(enqueued.job_id)["payload"] == {"name": "Ada", "times": 2}


def test_a_strict_model_comes_back_as_it_went(table: Table, qstash: Server) -> None:
    payload = Strict(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        id=UUID(int=1),
        kind=Kind.WARM,
        pair=(1, 2),
        byAlias=3,
    )
    enqueued = strict_job.enqueue(payload)
    _run(strict_job, enqueued.job_id)
    assert table.row(enqueued.job_id)["result"] == (
        "2026-01-02T00:00:00+00:00 00000000-0000-0000-0000-000000000001 WARM (1, 2)"
    )


def test_a_dataclass_comes_back_as_it_went(table: Table, qstash: Server) -> None:
    enqueued = plain_job.enqueue(Plain(datetime(2026, 1, 2, tzinfo=UTC), ["a"]))
    _run(plain_job, enqueued.job_id)
    assert table.row(enqueued.job_id)["result"] == "2026-01-02T00:00:00+00:00"


def _run(job: stashjobs.Job[Any, Any], job_id: str) -> None:
    assert handle(job, {"jobId": job_id, "type": job.type}).status == 200


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"name": 7},
        {"name": "Ada", "times": "many"},
        None,
        [],
        "Ada",
    ],
    ids=repr,
)
def test_an_invalid_payload_is_refused_before_anything_is_written(
    table: Table, qstash: Server, payload: Any
) -> None:
    with pytest.raises(InvalidPayload):
        greet.enqueue(payload)
    assert (table.rows(), qstash.received) == ([], [])


@pytest.mark.parametrize(
    "payload",
    [
        math.nan,
        [math.inf],
        {"a": -math.inf},
        "\0",
        {"\0": 1},
        {"a": ["\ud800"]},
        "\udfff",
        10**5000,
        object(),
        {"a": {1, 2}, "b": object()},
        b"\xff",
    ],
    ids=["nan", "inf", "-inf", "nul", "nul-key", "high", "low", "int", "object", "set", "bytes"],
)
def test_what_no_row_can_hold_is_an_invalid_payload(
    table: Table, qstash: Server, payload: Any
) -> None:
    with pytest.raises(InvalidPayload):
        any_job.enqueue(payload)
    assert (table.rows(), qstash.received) == ([], [])


def test_a_payload_without_end_is_refused(table: Table, qstash: Server) -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for payload in (circle, deep):
        with pytest.raises(InvalidPayload):
            any_job.enqueue(payload)
    assert table.rows() == []


@pytest.mark.parametrize(
    "payload",
    [None, 0, 2**63, 10**300, 1.5, -2.5e-7, "", "é😀\u2028", [], {"": {"": None}}, "\x01\x7f"],
    ids=repr,
)
def test_what_a_row_can_hold_comes_back_the_same(
    table: Table, qstash: Server, payload: Any
) -> None:
    enqueued = any_job.enqueue(payload)
    _run(any_job, enqueued.job_id)
    assert table.row(enqueued.job_id)["result"] == payload


class Line(BaseModel):
    on: date
    price: Decimal
    at: datetime | None = None


@stashjobs.job("typed-lines", endpoint="/api/jobs/lines")
def lines_job(lines: list[Line], _context: Context) -> Any:
    return [[each.on.isoformat(), str(each.price), type(each.price).__name__] for each in lines]


def test_a_list_of_models_arrives_the_same_from_python_json_and_sql(
    table: Table, qstash: Server
) -> None:
    line: Any = {"on": "2026-03-29", "price": "1.10"}
    as_model = lines_job.enqueue([Line(on=date(2026, 3, 29), price=Decimal("1.10"))]).job_id
    as_json = lines_job.enqueue([line]).job_id
    [by_sql] = table.run(
        "SELECT job_id FROM stashjobs.enqueue('typed-lines', %s)", json.dumps([line])
    )
    for job_id in (as_model, as_json, by_sql["job_id"]):
        assert deliver(lines_job, job_id).status == 200
        assert table.row(job_id)["result"] == [["2026-03-29", "1.10", "Decimal"]]


def test_floats_and_times_of_a_zone_come_back_as_they_went(table: Table, qstash: Server) -> None:
    got: list[Any] = []
    job = probe(lambda payload, _context: got.append(payload))
    numbers = {"large": 1e16, "huge": -1.5e300, "whole": 10**16, "text": "1e+16"}
    deliver(job, table.add(job, numbers))
    assert got == [numbers]
    kinds = {name: type(number) for name, number in got[0].items()}
    assert kinds == {"large": float, "huge": float, "whole": int, "text": str}

    rome = ZoneInfo("Europe/Rome")
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=rome, fold=1)
    never = datetime(2026, 3, 29, 2, 30, tzinfo=rome)
    enqueued = lines_job.enqueue(
        [Line(on=date(2026, 1, 1), price=Decimal(1), at=moment) for moment in (twice, never)]
    )
    read = lines_job.read_payload(table.row(enqueued.job_id)["payload"])
    assert [each.at and each.at.astimezone(UTC) for each in read] == [
        twice.astimezone(UTC),
        never.astimezone(UTC),
    ]


def test_a_payload_over_the_limit_is_refused_with_both_sizes(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("MAX_PAYLOAD_BYTES", "100")
    at_the_limit = "é" * 49  # 98 bytes and two quotes
    any_job.enqueue(at_the_limit)
    with pytest.raises(PayloadTooLarge, match="is 101 bytes, the limit is 100 bytes") as refusal:
        any_job.enqueue(at_the_limit + "x")
    assert (refusal.value.size, refusal.value.limit) == (101, 100)
    assert len(table.rows()) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"delay": -1},
        {"delay": math.nan},
        {"delay": math.inf},
        {"delay": 1e15},
        {"delay": 5, "at": datetime(2030, 1, 1, tzinfo=UTC)},
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"retries": -1},
        {"retries": 1_000_001},
        {"headers": {"X": "x" * 64_000}},
        {"callback": "http://a/" + "x" * 64_000},
        {"idempotency_key": ""},
        {"at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
        {"at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))},
        {"at": datetime(9999, 12, 31, 23, tzinfo=UTC)},
        {"user_id": "u" * 1001},
        {"organization_id": "é" * 501},
        {"idempotency_key": "k" * 1001},
        {"metadata": {"x": math.nan}},
        {"metadata": {"x": "\0"}},
        {"headers": {"X": "\ud800"}},
        {"user_id": "\0"},
        {"organization_id": "\ud800"},
        {"idempotency_key": "a\0"},
    ],
    ids=repr,
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_is_written(
    table: Table, qstash: Server, database_url: str, options: dict[str, Any]
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
            any_job.enqueue({}, connection=connection, **options)
        assert connection.info.transaction_status.name == "INTRANS"  # the caller's is unharmed
    assert (table.rows(), qstash.received) == ([], [])


@pytest.mark.parametrize("name", ["BASE_URL", "QSTASH_TOKEN", "POSTGRES_URL"])
@pytest.mark.parametrize("value", [None, "  "], ids=["missing", "blank"])
def test_a_missing_setting_names_itself_before_anything_is_written(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    with settings.context() as changed:
        changed.delenv(name) if value is None else changed.setenv(name, value)
        with pytest.raises(SettingError, match=name):
            any_job.enqueue({})
    assert (table.rows(), qstash.received) == ([], [])


def test_without_postgres_there_is_no_job(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://u:p@127.0.0.1:9/x")
    with pytest.raises(psycopg.OperationalError):
        any_job.enqueue({})
    assert qstash.received == []


# ------------------------------------------------------------------ the message


def test_the_message_is_thin(table: Table, qstash: Server) -> None:
    enqueued = any_job.enqueue({"password": "never-in-qstash"}, user_id="never-in-qstash")
    [request] = qstash.received
    assert b"never-in-qstash" not in request.body
    [message] = request.document
    assert json.loads(message["body"]) == {"jobId": enqueued.job_id, "type": "enqueue-any"}
    assert message["destination"] == "https://jobs.example.test/api/jobs/any"


def test_the_message_asks_what_the_type_asks(table: Table, qstash: Server) -> None:
    enqueued = limited.enqueue({})
    [message] = qstash.messages
    headers = message["headers"]
    assert headers["Upstash-Deduplication-Id"] == enqueued.job_id
    assert headers["Upstash-Retries"] == "5"
    assert headers["Upstash-Retry-Delay"] == "pow(2, retried) * 1000"
    assert headers["Upstash-Timeout"] == "70s"
    assert headers["Upstash-Label"] == "enqueue-limited"
    assert headers["Upstash-Flow-Control-Key"] == "jobs.example.test-enqueue-limited"
    assert sorted(headers["Upstash-Flow-Control-Value"].split(", ")) == [
        "parallelism=2",
        "period=60s",
        "rate=10",
    ]
    assert headers["Content-Type"] == "application/json"
    assert "Upstash-Not-Before" not in headers


def test_stages_that_share_an_account_at_qstash_share_no_limit(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("BASE_URL", "https://api.example.test/staging")
    limited.enqueue({})
    [message] = qstash.messages
    key = message["headers"]["Upstash-Flow-Control-Key"]
    assert key == "api.example.test-staging-enqueue-limited"


def test_qstash_calls_back_no_faster_than_the_function_for_it_can_bear(
    table: Table, qstash: Server
) -> None:
    any_job.enqueue({})
    [message] = qstash.messages
    headers = message["headers"]
    key = headers["Upstash-Failure-Callback-Flow-Control-Key"]
    assert key == "jobs.example.test-delivery-failed"
    assert headers["Upstash-Failure-Callback-Flow-Control-Value"] == "parallelism=1"


def test_the_message_asks_what_the_enqueue_asks(table: Table, qstash: Server) -> None:
    enqueued = any_job.enqueue(
        {},
        delay=60,
        retries=4,
        headers={"X-Tenant": "t_1"},
        callback="https://app.example/done",
        failure_callback="https://app.example/failed",
    )
    headers = qstash.messages[0]["headers"]
    assert headers["Upstash-Retries"] == "4"
    assert headers["Upstash-Forward-X-Tenant"] == "t_1"
    assert headers["Upstash-Callback"] == "https://app.example/done"
    # Its own is told by ours.
    ours = "https://jobs.example.test/api/jobs/delivery-failed"
    assert headers["Upstash-Failure-Callback"] == ours
    assert 30 <= int(headers["Upstash-Not-Before"]) - time.time() <= 61
    row = table.row(enqueued.job_id)
    assert row["max_attempts"] == 5
    assert row["delivery"]["failureCallback"] == "https://app.example/failed"
    assert 30 < (row["available_at"] - row["created_at"]).total_seconds() < 61


def test_a_job_is_never_delivered_before_its_time(table: Table, qstash: Server) -> None:
    at = datetime.now(UTC) + timedelta(days=1, microseconds=1)
    enqueued = any_job.enqueue({}, at=at)
    assert int(qstash.messages[0]["headers"]["Upstash-Not-Before"]) >= at.timestamp()
    assert table.row(enqueued.job_id)["available_at"] == at


def test_the_real_sdk_and_qstash_deliver_what_was_enqueued(
    table: Table, settings: pytest.MonkeyPatch, use_qstash: Callable[[str, str], None]
) -> None:
    with qstash_running() as qstash, serving() as app:
        use_qstash(qstash.url, qstash.token)
        settings.setenv("BASE_URL", app.url)
        enqueued = any_job.enqueue({"n": 1}, headers={"X-Tenant": "t_1"})
        assert enqueued.published
        [request] = app.wait()
    assert request.path == "/api/jobs/any"
    assert request.document == {"jobId": enqueued.job_id, "type": "enqueue-any"}
    assert request.headers["x-tenant"] == "t_1"
    assert request.headers["upstash-message-id"] == table.row(enqueued.job_id)["message_id"]
    assert request.headers["upstash-retried"] == "0"
    settings.setenv("QSTASH_CURRENT_SIGNING_KEY", qstash.current_signing_key)
    settings.setenv("BASE_URL", "https://jobs.example.test")
    event: dict[str, Any] = {
        "rawPath": request.path,
        "headers": {**request.headers, "x-forwarded-proto": "http"},
        "requestContext": {"domainName": "127.0.0.1", "http": {"path": request.path}},
        "body": request.body.decode(),
    }
    event["headers"]["x-forwarded-port"] = app.url.rpartition(":")[2]
    assert handle(any_job, event).status == 200
    assert table.row(enqueued.job_id)["result"] == {"n": 1}


def test_telling_qstash_twice_delivers_once(
    table: Table, settings: pytest.MonkeyPatch, use_qstash: Callable[[str, str], None]
) -> None:
    with qstash_running() as qstash, serving() as app:
        use_qstash(qstash.url, qstash.token)
        settings.setenv("BASE_URL", app.url)
        enqueued = any_job.enqueue({})
        enqueued.published = False
        assert enqueued.publish()
        any_job.enqueue({})
        app.wait(2)
        time.sleep(0.2)
        assert len(app.received) == 2


def test_a_job_never_asks_for_more_retries_than_qstash_allows(
    table: Table, settings: pytest.MonkeyPatch, use_qstash: Callable[[str, str], None]
) -> None:
    with qstash_running() as qstash:
        use_qstash(qstash.url, qstash.token)
        enqueued = any_job.enqueue({}, retries=20, delay=60)
        assert enqueued.published
    assert table.row(enqueued.job_id)["max_attempts"] == 21


def test_the_plans_maximum_of_retries_is_a_setting(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("QSTASH_MAX_RETRIES", "3")
    any_job.enqueue({}, retries=20)
    assert qstash.messages[0]["headers"]["Upstash-Retries"] == "3"


def test_a_job_too_far_in_the_future_for_qstash_is_left_to_the_relay(
    table: Table, qstash: Server, log: Log
) -> None:
    """It holds up none of those that are recorded with it, and is nothing to warn of."""
    far = Options(at=datetime.now(UTC) + timedelta(days=8))
    prepared = [enqueue.prepare(any_job, {}, options) for options in (far, Options())]
    enqueued = enqueue.enqueue_prepared(prepared)
    assert [one.published for one in enqueued] == [False, True]
    assert len(qstash.messages) == 1
    assert log.text == ""


# ------------------------------------------------------------------ QStash is not there


@pytest.mark.parametrize("status", [400, 401, 412, 429, 500, 503])
def test_qstash_refuses_and_the_job_is_recorded(table: Table, qstash: Server, status: int) -> None:
    qstash.status = status
    enqueued = any_job.enqueue({})
    assert (enqueued.created, enqueued.published) == (True, False)
    row = table.row(enqueued.job_id)
    assert (row["status"], row["published_at"], row["message_id"]) == ("pending", None, None)


def test_qstash_cannot_be_reached_and_the_job_is_recorded(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    use_qstash("http://127.0.0.1:9")
    enqueued = any_job.enqueue({})
    assert (enqueued.created, enqueued.published) == (True, False)
    assert table.row(enqueued.job_id)["published_at"] is None


def test_qstash_hangs_and_enqueue_does_not(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    assert qstash_client.QSTASH_TIMEOUT_SECONDS <= 5
    settings.setattr(qstash_client, "QSTASH_TIMEOUT_SECONDS", 1.0)
    qstash.hangs = True
    began = time.monotonic()
    enqueued = any_job.enqueue({})
    assert time.monotonic() - began < 30
    assert len(qstash.received) == 2  # the tries share the time
    assert enqueued.published is False
    assert table.status(enqueued.job_id) == "pending"


def test_what_was_not_published_can_be_published_later(table: Table, qstash: Server) -> None:
    qstash.status = 500
    enqueued = any_job.enqueue({})
    qstash.status = 200
    assert enqueued.publish() is True
    assert table.row(enqueued.job_id)["published_at"] is not None
    count = len(qstash.received)
    assert enqueued.publish() is True
    assert len(qstash.received) == count  # nothing left to tell


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of any thread
def test_a_fork_does_not_use_its_parents_connection_to_qstash(qstash: Server) -> None:
    parents = qstash_client.qstash()
    child = os.fork()
    if child == 0:
        os._exit(0 if qstash_client.qstash() is not parents else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert qstash_client.qstash() is parents


# ------------------------------------------------------------------ the caller's transaction


def test_a_job_joins_the_callers_transaction(
    table: Table, qstash: Server, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        enqueued = any_job.enqueue({}, connection=connection)
        assert (enqueued.created, enqueued.published) == (True, False)
        assert (table.rows(), qstash.received) == ([], [])
    assert table.status(enqueued.job_id) == "pending"
    assert qstash.received == []
    assert enqueued.publish()
    assert len(qstash.received) == 1
    assert table.row(enqueued.job_id)["published_at"] is not None


def test_a_job_of_a_transaction_that_is_rolled_back_never_was(
    table: Table, qstash: Server, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        any_job.enqueue({}, connection=connection)
        connection.rollback()
    assert (table.rows(), qstash.received) == ([], [])


@pytest.mark.parametrize("commits", [True, False])
async def test_a_job_joins_an_async_transaction(
    table: Table, qstash: Server, database_url: str, commits: bool
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        enqueued = await any_job.enqueue_async({"n": 1}, connection=connection, user_id="u_1")
        assert (enqueued.created, enqueued.published) == (True, False)
        assert table.rows() == []
        if not commits:
            await connection.rollback()
    assert [row["user_id"] for row in table.rows()] == (["u_1"] if commits else [])
    assert qstash.received == []


@pytest.mark.parametrize("rows", [dict_row, scalar_row, namedtuple_row])
async def test_a_connection_with_any_row_factory_may_enqueue(
    table: Table, database_url: str, rows: Any
) -> None:
    with psycopg.connect(database_url, row_factory=rows) as connection:
        one = any_job.enqueue({"n": 1}, connection=connection, idempotency_key="k")
        two = any_job.enqueue_many([{"n": 2}, {"n": 3}], connection=connection)
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=rows) as own:
        three = await any_job.enqueue_async({"n": 4}, connection=own)
        again = await any_job.enqueue_async({"n": 5}, connection=own, idempotency_key="k")
    assert again.job_id == one.job_id
    found = [(row["job_id"], row["payload"]["n"]) for row in table.rows()]
    ids = [each.job_id for each in [one, *two, three]]
    assert sorted(found) == sorted(zip(ids, [1, 2, 3, 4], strict=True))


# ------------------------------------------------------------------ idempotency


def test_a_key_that_exists_answers_with_the_first_job(table: Table, qstash: Server) -> None:
    first = any_job.enqueue({"n": 1}, idempotency_key="k")
    second = any_job.enqueue({"n": 2}, idempotency_key="k")
    assert first.created
    assert (second.job_id, second.created) == (first.job_id, False)
    assert [row["payload"] for row in table.rows()] == [{"n": 1}]
    assert len(qstash.messages) == 1


def test_a_key_is_the_types_own(table: Table, qstash: Server) -> None:
    first = any_job.enqueue({}, idempotency_key="k")
    second = limited.enqueue({}, idempotency_key="k")
    assert second.created
    assert first.job_id != second.job_id


def test_a_key_stays_taken_when_its_job_is_over(table: Table, qstash: Server) -> None:
    first = any_job.enqueue({}, idempotency_key="k")
    _run(any_job, first.job_id)
    again = any_job.enqueue({}, idempotency_key="k")
    assert (again.job_id, again.created) == (first.job_id, False)
    assert table.status(first.job_id) == "completed"


def test_of_many_enqueues_of_a_key_at_once_one_creates_the_job(
    table: Table, qstash: Server, database_url: str
) -> None:
    barrier = threading.Barrier(6)

    def enqueue(_number: int) -> tuple[str, bool]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            barrier.wait()
            enqueued = any_job.enqueue({}, idempotency_key="k", connection=connection)
            return enqueued.job_id, enqueued.created

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(enqueue, range(6)))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert len(table.rows()) == 1


def test_a_key_that_exists_does_not_lock_its_job_for_as_long_as_the_callers_transaction(
    table: Table, qstash: Server, database_url: str
) -> None:
    first = any_job.enqueue({}, idempotency_key="k")
    with psycopg.connect(database_url) as connection:
        again = any_job.enqueue({}, idempotency_key="k", connection=connection)
        assert (again.job_id, again.created) == (first.job_id, False)
        _run(any_job, first.job_id)
        assert table.status(first.job_id) == "completed"


def test_a_key_that_is_recorded_while_one_waits_for_it_is_found(
    table: Table, qstash: Server, database_url: str
) -> None:
    """The statement that waited does not see the row; another one does."""
    with (
        psycopg.connect(database_url) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        first = any_job.enqueue({}, idempotency_key="k", connection=connection)
        waiting = pool.submit(lambda: any_job.enqueue({}, idempotency_key="k"))
        _until_somebody_waits_for_a_lock(table)
        connection.commit()
        again = waiting.result(60)
    assert (again.job_id, again.created) == (first.job_id, False)


def _until_somebody_waits_for_a_lock(table: Table) -> None:
    for _ in range(200):
        if table.run("SELECT 1 FROM pg_locks WHERE NOT granted"):
            return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


# ------------------------------------------------------------------ many


def test_many_are_one_call_each_to_postgres_and_to_qstash(table: Table, qstash: Server) -> None:
    inserted = _statements_by("INSERT", table)
    enqueued = any_job.enqueue_many([{"n": n} for n in range(500)], user_id="u_1")
    assert _statements_by("INSERT", table) - inserted == 1
    assert len(qstash.received) == 1
    assert [message["body"] for message in qstash.messages] == [
        json.dumps({"jobId": one.job_id, "type": "enqueue-any"}) for one in enqueued
    ]
    assert all(one.created and one.published for one in enqueued)
    rows = table.rows()
    assert [row["payload"]["n"] for row in rows] == list(range(500))
    assert {row["user_id"] for row in rows} == {"u_1"}
    assert all(row["published_at"] and row["message_id"] for row in rows)


def _statements_by(kind: str, table: Table) -> int:
    """How many statements fired the counting trigger: one per statement, whatever its rows."""
    table.run("CREATE TABLE IF NOT EXISTS public.fired (n int)")
    table.run(
        "CREATE OR REPLACE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO public.fired VALUES (1); RETURN NULL; END $$"
    )
    table.run(
        f"CREATE OR REPLACE TRIGGER counting AFTER {kind} ON job_executions "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_statement()"
    )
    [row] = table.run("SELECT count(*) AS n FROM public.fired")
    return int(row["n"])


@pytest.fixture(autouse=True)
def _no_trigger_is_left(table: Table) -> Iterator[None]:
    yield
    database.close()
    table.run("DROP TRIGGER IF EXISTS counting ON job_executions")


def test_of_many_with_one_invalid_none_is_written(table: Table, qstash: Server) -> None:
    with pytest.raises(InvalidPayload):
        greet.enqueue_many([{"name": "Ada"}, {"name": 7}])
    assert (table.rows(), qstash.received) == ([], [])


def test_many_join_the_callers_transaction(table: Table, qstash: Server, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        any_job.enqueue_many([1, 2], connection=connection)
        connection.rollback()
        any_job.enqueue_many([3], connection=connection)
    assert [row["payload"] for row in table.rows()] == [3]
    assert qstash.received == []


def test_each_of_many_has_options_of_its_own(table: Table, qstash: Server) -> None:
    keys: list[UUID | int] = [UUID(int=1), 2]
    enqueued = any_job.enqueue_many(
        [1, 2], user_id=7, each=[{"idempotency_key": key} for key in keys]
    )
    again = any_job.enqueue_many([3], each=[{"idempotency_key": "2", "user_id": "u_3"}])
    assert [one.created for one in enqueued + again] == [True, True, False]
    rows = {row["payload"]: row for row in table.rows()}
    assert [rows[n]["idempotency_key"] for n in (1, 2)] == [str(keys[0]), "2"]
    assert [rows[n]["user_id"] for n in (1, 2)] == ["7", "7"]


@pytest.mark.parametrize("each", [[], [{}], [{}, {"retries": -1}]])
def test_of_many_with_wrong_options_none_is_written(
    table: Table, qstash: Server, each: list[EnqueueOptions]
) -> None:
    with pytest.raises(ValueError, match=r"each has|retries is -1"):
        any_job.enqueue_many([1, 2], each=each)
    assert (table.rows(), qstash.received) == ([], [])


def test_none_is_none(table: Table, qstash: Server) -> None:
    assert any_job.enqueue_many([]) == []
    assert qstash.received == []


def test_many_may_come_from_a_generator(table: Table, qstash: Server) -> None:
    assert len(any_job.enqueue_many(n for n in range(3))) == 3


@pytest.fixture
def _small_portions(settings: pytest.MonkeyPatch) -> None:
    settings.setattr(enqueue, "CHUNK", 2)
    settings.setattr(enqueue, "PORTION", 4)


@pytest.mark.usefixtures("_small_portions")
def test_payloads_are_read_and_recorded_a_portion_at_a_time(table: Table, qstash: Server) -> None:
    recorded = []
    with table.other.transaction(), table.other.cursor(row_factory=scalar_row) as cursor:

        def payloads() -> Iterator[dict[str, Any]]:
            for number in range(14):
                recorded.append(cursor.execute("SELECT count(*) FROM job_executions").fetchone())
                yield {"name": f"Ada {number}", "times": number}

        enqueued = greet.enqueue_many(payloads(), user_id="u_1", delay=60, connection=table.other)
    assert recorded == [0] * 8 + [8] * 4 + [12] * 2
    rows = {row["job_id"]: row for row in table.rows()}
    assert [rows[one.job_id]["payload"]["times"] for one in enqueued] == list(range(14))
    assert {row["user_id"] for row in rows.values()} == {"u_1"}
    assert all(one.created and one.due and not one.published for one in enqueued)


@pytest.mark.usefixtures("_small_portions")
def test_portions_are_published_once_all_are_recorded(table: Table, qstash: Server) -> None:
    enqueued = any_job.enqueue_many(range(10))
    assert all(one.published for one in enqueued)
    assert len({row["message_id"] for row in table.rows()}) == 10


@pytest.mark.usefixtures("_small_portions")
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("is_begun", [True, False])
def test_of_portions_with_one_invalid_payload_none_is_written(
    table: Table, qstash: Server, database_url: str, autocommit: bool, is_begun: bool
) -> None:
    payloads = [{"name": "Ada"}] * 12 + [{"name": 7}]
    with psycopg.connect(database_url, autocommit=autocommit) as connection:
        with connection.transaction() if is_begun else nullcontext():
            any_job.enqueue("before", connection=connection)
            with pytest.raises(InvalidPayload):
                greet.enqueue_many(payloads, connection=connection)
            # The transaction goes on.
            greet.enqueue_many(payloads[:9], connection=connection)
        if not autocommit and not is_begun:
            assert table.rows() == []  # it is the caller's to commit
    assert len(table.rows()) == 10
    with pytest.raises(InvalidPayload):
        greet.enqueue_many(payloads)
    assert len(table.rows()) == 10
    assert qstash.received == []


@pytest.mark.usefixtures("_small_portions")
def test_portions_join_a_batch_and_wait_for_others(table: Table, qstash: Server) -> None:
    first = any_job.enqueue("first")
    with stashjobs.batch("import") as batch:
        batch.enqueue(any_job, "one")
    waiting = any_job.enqueue_many(range(9), after=[first], batch=batch)
    assert {(one.due, one.published) for one in waiting} == {(False, False)}
    rows = [row for row in table.rows() if row["status"] == "waiting"]
    assert {row["batch_id"] for row in rows} == {batch.batch_id}
    assert len(rows) == 9


@pytest.mark.usefixtures("_small_portions")
def test_payloads_of_portions_are_encrypted_each_for_its_own_job(
    table: Table, qstash: Server, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", f"one:{'A' * 43}")
    enqueued = any_job.enqueue_many([{"secret": number} for number in range(6)], encrypted=True)
    rows = {row["job_id"]: row["payload"] for row in table.rows()}
    opened = [
        encryption.decrypt(rows[one.job_id], encryption.Place(one.job_id, any_job.type, "payload"))
        for one in enqueued
    ]
    assert opened == [{"secret": number} for number in range(6)]


def test_texts_of_every_kind_are_recorded_as_they_are(table: Table, qstash: Server) -> None:
    awkward = ["", "NULL", '"', "\\", '\\"', "{},", "a\nb", "🙂", " ", "1e400", "é"]
    any_job.enqueue_many(awkward, user_id='{"x\\",NULL}', metadata={"a": '\\"}'})
    rows = table.rows()
    assert sorted(row["payload"] for row in rows) == sorted(awkward)
    assert {row["user_id"] for row in rows} == {'{"x\\",NULL}'}
    assert rows[0]["metadata"] == {"a": '\\"}'}


def test_many_that_qstash_refuses_are_recorded(table: Table, qstash: Server) -> None:
    qstash.status = 500
    enqueued = any_job.enqueue_many([1, 2])
    assert [(one.created, one.published) for one in enqueued] == [(True, False)] * 2
    assert len(table.rows()) == 2


def test_a_delivery_that_is_faster_than_the_confirmation_keeps_its_message(
    table: Table, qstash: Server
) -> None:
    job_id = table.add(any_job)
    assert deliver(any_job, job_id).status == 200
    before = table.row(job_id)
    outbox.confirm_published(table.other, {job_id: "msg_told"})
    assert table.row(job_id) == before
