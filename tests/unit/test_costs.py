"""What a month of jobs is said to cost."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stashjobs.errors import SettingError
from stashjobs.tools import costs
from stashjobs.tools.cli.cost import cost
from stashjobs.tools.costs import Prices, Workload

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
alarm = {usd = 0.1}
composite_alarm = {usd = 0.5}
metric = {usd = 0.3}
dashboard = {usd = 3.0}
secret = {usd = 0.4}
secret_reading = {usd = 0.01}
key = {usd = 1.0}
schedule_invocation = {usd = 0.001}
[measured]
cpu_milliseconds = 1.0
cold_cpu_milliseconds = 0.0
log_bytes = 1e9
monitor_log_bytes = 1e6
[assumed]
platform_log_bytes = 1e7
gateway_log_bytes = 1e6
minutely_milliseconds = 200.0
metrics_per_type = 4
failed_share = 0.1
worker_alarms = 6
sqs_alarms_per_type = 6
round_trip_milliseconds = 1.0
cold_share = 0.0
full_processor_megabytes = 2048
retried_share = 0.5
peak_factor = 1.0
worker_vcpu = 1.0
worker_gigabytes = 2.0
worker_concurrency = 1
worker_load = 1.0
[stage]
job_types = 2
alarms_per_type = 4
other_alarms = 12
composite_alarms = 1
dashboards = 1
secrets = 2
secrets_of_a_process = 1
keys = 1
stage_metrics = 7
minutely_functions = 2
small_memory = 1024
secret_seconds = 300
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    (tmp_path / "prices.toml").write_text(FILE)
    return Prices(tmp_path / "prices.toml")


def dollars(bill: costs.Bill, *, fixed: bool = False) -> dict[str, float]:
    return {item.name: round(item.dollars, 6) for item in bill.items if item.fixed is fixed}


def test_each_delivery_is_paid_and_a_retry_is_one_more(prices: Prices) -> None:
    # 94 ms of work, two round trips, and 1 ms of CPU at half a processor: 98 ms of one gigabyte.
    # For the ten jobs that fail QStash calls back: 4 ms of one gigabyte each.
    bill = costs.stashjobs(Workload(100, work_milliseconds=94.0, memory=1024), prices)
    told = dollars(bill)
    assert {name: each for name, each in told.items() if not name.startswith("Metrics")} == {
        "QStash messages": 50.0,
        "QStash retries": 12.5,
        "QStash callbacks": 5.0,
        "API Gateway": 16.0,
        "Lambda requests": 1.6,
        "Lambda GB-seconds": 14.74,
        "Logs": round(2 * (150 + 160 * 0.01 + 160 * 0.001), 6),
        "Secret readings": 1.5,
    }


def test_a_job_that_fails_for_good_is_one_message_and_one_request_more(
    prices: Prices, tmp_path: Path
) -> None:
    (tmp_path / "none.toml").write_text(FILE.replace("failed_share = 0.1", "failed_share = 0"))
    some, none = (
        dollars(costs.stashjobs(Workload(100, route="function-url"), each))
        for each in (prices, Prices(tmp_path / "none.toml"))
    )
    assert (none["QStash callbacks"], none["API Gateway"]) == (0, 0)
    assert some["QStash callbacks"] == 10 * 0.5
    assert some["API Gateway"] == 10 * 0.1  # the callback's address is never a Function URL
    assert some["Lambda requests"] - none["Lambda requests"] == pytest.approx(10 * 0.01)
    assert some["Logs"] - none["Logs"] == pytest.approx(10 * 2 * (0.01 + 0.001))


def test_a_function_url_saves_the_gateway_and_its_log(prices: Prices) -> None:
    by_gateway, by_url = (
        dollars(costs.stashjobs(Workload(100, route=route), prices))
        for route in ("api-gateway", "function-url")
    )
    assert by_gateway["API Gateway"] - by_url["API Gateway"] == pytest.approx(150 * 0.1)
    assert by_gateway["Logs"] - by_url["Logs"] == pytest.approx(150 * 2 * 0.001)


def test_a_stage_is_paid_before_its_first_job(prices: Prices) -> None:
    few, many = (costs.stashjobs(Workload(jobs), prices) for jobs in (1, 1_000_000))
    minutes = costs.MONTH_MINUTES
    expected = {
        "Alarms": 2.0,
        "Dashboards": 3.0,
        "Secrets": 0.8,
        "Composite alarms": 0.5,
        "Metrics of the stage": 2.1,
        "Key of the alarms": 1.0,
        "Scheduler": 2 * minutes * 0.001,
        "Relay, monitor: calls": 2 * minutes * 0.01,
        "Relay, monitor: time": 2 * minutes * 0.2,
        "Relay, monitor: logs": round(minutes * 2 * (2 * 0.01 + 0.001), 6),
        "Relay, monitor: secret": 2 * minutes / 5 * 0.01,
    }
    assert dollars(few, fixed=True) == pytest.approx(expected)
    assert (
        few.fixed_dollars
        == many.fixed_dollars
        == pytest.approx(sum(dollars(few, fixed=True).values()))
    )


def test_a_types_metrics_are_paid_for_the_hours_in_which_it_had_a_job(prices: Prices) -> None:
    hours = int(costs.MONTH_HOURS)
    for deliveries, share in ((hours, 0.5), (2 * hours, 1.0), (20 * hours, 1.0)):
        told = dollars(costs.stashjobs(Workload(round(deliveries / 1.5)), prices))
        assert told["Metrics of types"] == pytest.approx(2 * 4 * 0.3 * share, rel=0.01)


def test_the_secret_is_read_by_each_delivery_at_most_and_by_a_process_every_five_minutes(
    prices: Prices,
) -> None:
    few, many = (costs.sqs(Workload(jobs), prices) for jobs in (10, 1_000_000))
    assert dollars(few)["Secret readings"] == 15 * 0.01
    assert dollars(many)["Secret readings"] == pytest.approx(2 * costs.MONTH_MINUTES / 5 * 0.01)


def test_the_other_two_are_watched_too(prices: Prices) -> None:
    assert dollars(costs.sqs(Workload(1), prices), fixed=True) == {
        "Alarms": 1.2,
        "Dashboards": 3.0,
        "Secrets": 0.4,
    }
    assert dollars(costs.always_on(Workload(1), prices), fixed=True) == {
        "Fargate vCPU": costs.MONTH_HOURS,
        "Fargate memory": 2 * costs.MONTH_HOURS,
        "Broker": costs.MONTH_HOURS,
        "Alarms": 0.6,
        "Dashboards": 3.0,
        "Secrets": 0.4,
    }


def test_an_always_on_worker_costs_the_month_however_few_the_jobs(prices: Prices) -> None:
    few, none = (costs.always_on(Workload(jobs), prices) for jobs in (11, 1))
    assert few.dollars - none.dollars == pytest.approx(10 * 1.5 * 2.0)  # the logs, also of retries
    assert few.fixed_dollars == none.fixed_dollars


def test_more_workers_are_paid_where_one_is_not_enough(prices: Prices) -> None:
    a_second = int(costs.MONTH_HOURS * 3600)
    bill = costs.always_on(Workload(2 * a_second, work_milliseconds=1000.0), prices)
    assert dollars(bill)["Fargate vCPU"] == 3 * costs.MONTH_HOURS  # half of them run twice
    assert bill.connections == 3


def test_a_price_that_is_missing_is_named(prices: Prices, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(FILE.replace("sqs_request", "other"))
    with pytest.raises(SettingError, match=r"prices\.toml has no prices\.sqs_request\.usd"):
        costs.sqs(Workload(1), Prices(tmp_path / "prices.toml"))


def test_every_number_that_comes_along_is_calculated_with(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()
    number, item = Prices.number, Prices.item

    def spied_number(self: Prices, name: str) -> float:
        asked.add(name)
        return number(self, name)

    def spied_item(self: Prices, price: str, *arguments: Any, **options: Any) -> costs.Item:
        asked.add(price)
        return item(self, price, *arguments, **options)

    monkeypatch.setattr(Prices, "number", spied_number)
    monkeypatch.setattr(Prices, "item", spied_item)
    costs.compare(Workload(1_000_000), Prices())
    document = tomllib.loads(costs.PRICES.read_text())
    assert {name for table in document.values() for name in table} - {"on"} == asked


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
    fixed = {bill["way"]: bill["fixed_dollars"] for bill in told["bills"]}
    assert all(0 < fixed[way] <= ways[way] for way in ways)
    assert "qstash_retry" in told["unverified"]


def test_for_a_person_each_line_has_its_quantity() -> None:
    ran = CliRunner().invoke(cost, ["--jobs-per-month", "1000000", "--through", "function-url"])
    assert ran.exit_code == 0, ran.output
    assert "QStash messages              10.00   1,000,000 x message" in ran.output
    assert re.search(r"^  Alarms +6\.30   63 x alarm .*\(fixed\)$", ran.output, re.MULTILINE)
    assert re.search(r"^stashjobs .* a month, per stage; 14\.\d\d of it however few", ran.output)


PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
ROW = re.compile(r"^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)


def monthly(jobs: int) -> list[float]:
    """stashjobs, the same by Function URLs, SQS with Lambda, Celery."""
    by_gateway, queue, always_on = costs.compare(Workload(jobs), Prices())
    by_url = costs.stashjobs(Workload(jobs, route="function-url"), Prices())
    return [by_gateway.dollars, by_url.dollars, queue.dollars, always_on.dollars]


def test_the_page_has_what_is_calculated() -> None:
    rows = [[int(cell.replace(",", "")) for cell in row] for row in ROW.findall(PAGE)]
    assert [row[0] for row in rows] == [10**power for power in range(3, 8)]
    assert {jobs: told for jobs, *told in rows} == {
        jobs: [round(each) for each in monthly(jobs)] for jobs, *_ in rows
    }


@pytest.mark.parametrize(
    ("sentence", "way"),
    [(r"up\s+to some ([\d,]+) jobs a month", 0), (r"by Function URLs up to some ([\d,]+)", 1)],
)
def test_the_page_says_from_where_on_an_always_on_worker_is_cheaper(
    sentence: str, way: int
) -> None:
    [told] = re.findall(sentence, PAGE)
    jobs = int(told.rstrip(",").replace(",", ""))
    below, above = monthly(int(jobs * 0.8)), monthly(int(jobs * 1.2))
    assert below[way] < below[3]
    assert above[way] > above[3]


def test_the_page_says_what_is_fixed_and_how_many_prices_are_unverified() -> None:
    [fixed] = re.findall(r"some \$(\d+) are there before the first job", PAGE)
    assert round(costs.stashjobs(Workload(1), Prices()).fixed_dollars) == int(fixed)
    assert len(Prices().unverified()) == 4
    assert "**Four could not\nbe verified so**" in PAGE
