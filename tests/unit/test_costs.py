"""What a month of jobs is said to cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from stashjobs import costs
from stashjobs.cli.cost import cost
from stashjobs.costs import Prices, Workload
from stashjobs.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
[prices]
qstash_message = {usd = 0.5, verified = true}
qstash_retry = {usd = 0.25}
api_gateway_request = {usd = 0.1}
lambda_request = {usd = 0.01}
lambda_gb_second = {usd = 1.0}
log_gigabyte = {usd = 2.0}
sqs_request = {usd = 0.1}
fargate_vcpu_hour = {usd = 1.0}
fargate_gb_hour = {usd = 1.0}
broker_hour = {usd = 1.0}
[measured]
cpu_milliseconds = 1.0
cold_cpu_milliseconds = 0.0
log_bytes = 1e9
[assumed]
round_trip_milliseconds = 1.0
cold_share = 0.0
full_processor_megabytes = 2048
retried_share = 0.5
peak_factor = 1.0
worker_vcpu = 1.0
worker_gigabytes = 2.0
worker_concurrency = 1
worker_load = 1.0
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    (tmp_path / "prices.toml").write_text(FILE)
    return Prices(tmp_path / "prices.toml")


def dollars(bill: costs.Bill) -> dict[str, float]:
    return {item.name: round(item.dollars, 6) for item in bill.items}


def test_each_delivery_is_paid_and_a_retry_is_one_more(prices: Prices) -> None:
    # 94 ms of work, two round trips, and 1 ms of CPU at half a processor: 98 ms of one gigabyte.
    bill = costs.stashjobs(Workload(100, work_milliseconds=94.0, memory=1024), prices)
    assert dollars(bill) == {
        "QStash messages": 50.0,
        "QStash retries": 12.5,
        "API Gateway": 15.0,
        "Lambda requests": 1.5,
        "Lambda GB-seconds": 14.7,
        "Logs": 300.0,
    }
    assert bill.dollars == pytest.approx(393.7)


def test_a_function_url_saves_the_gateway(prices: Prices) -> None:
    bill = costs.stashjobs(Workload(100, route="function-url"), prices)
    assert "API Gateway" not in dollars(bill)


def test_an_always_on_worker_costs_the_month_however_few_the_jobs(prices: Prices) -> None:
    few, none = (costs.always_on(Workload(jobs), prices) for jobs in (10, 1))
    assert few.dollars - none.dollars == pytest.approx(9 * 2.0)  # the logs
    assert dollars(none)["Fargate vCPU"] == costs.MONTH_HOURS


def test_more_workers_are_paid_where_one_is_not_enough(prices: Prices) -> None:
    a_second = int(costs.MONTH_HOURS * 3600)
    bill = costs.always_on(Workload(3 * a_second, work_milliseconds=1000.0), prices)
    assert dollars(bill)["Fargate vCPU"] == 3 * costs.MONTH_HOURS
    assert bill.connections == 3


def test_a_price_that_is_missing_is_named(prices: Prices, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(FILE.replace("sqs_request", "other"))
    with pytest.raises(SettingError, match=r"prices\.toml has no prices\.sqs_request\.usd"):
        costs.sqs(Workload(1), Prices(tmp_path / "prices.toml"))


def test_every_price_that_comes_along_has_a_date_and_a_source() -> None:
    for name, entry in Prices().entries.items():
        assert entry["source"], name
        assert entry["read"].year >= 2026, name
        assert isinstance(entry["verified"], bool), name


def test_the_command_compares_three_ways_and_says_what_was_not_verified() -> None:
    ran = CliRunner().invoke(cost, ["--jobs-per-month", "1000000", "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    ways = {bill["way"]: bill["dollars"] for bill in told["bills"]}
    assert ways.keys() == {"stashjobs", "SQS + Lambda", "Celery, always on"}
    assert min(ways.values()) > 0
    assert "qstash_retry" in told["unverified"]


def test_for_a_person_each_line_has_its_quantity() -> None:
    ran = CliRunner().invoke(cost, ["--jobs-per-month", "1000000", "--through", "function-url"])
    assert ran.exit_code == 0, ran.output
    assert "QStash messages              10.00   1e+06 x message" in ran.output
    assert "API Gateway" not in ran.output
