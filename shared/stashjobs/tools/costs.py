"""What a month of jobs costs, from measured milliseconds and memory and from prices that are data
(`prices.toml`). An estimate: no free tier, no tax, no discount, no data transfer."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

PRICES = Path(__file__).parent / "prices.toml"
MONTH_HOURS = 730.0
MONTH_MINUTES = MONTH_HOURS * 60
GIGABYTE = 1024.0  # of Lambda's megabytes

Route = Literal["api-gateway", "function-url"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A month of jobs.

    Attributes:
        jobs: How many.
        work_milliseconds: How long one runs, beside what stashjobs does; mostly waiting.
        memory: The function's setting, in megabytes.
        route: How QStash reaches the function.
    """

    jobs: int
    work_milliseconds: float = 100.0
    memory: int = 256
    route: Route = "api-gateway"


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a bill: so many units of something. `fixed` where a stage pays it however few the
    jobs."""

    name: str
    quantity: float
    unit: str
    dollars: float
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """What one way to run the jobs costs. `connections` is how many to Postgres are open in the
    busiest minute; they have no price, but every server has a limit."""

    way: str
    items: tuple[Item, ...]
    connections: int

    @property
    def dollars(self) -> float:
        return sum(item.dollars for item in self.items)

    @property
    def fixed_dollars(self) -> float:
        """What of it a stage pays however few the jobs."""
        return sum(item.dollars for item in self.items if item.fixed)


class Prices:
    """The prices, what was measured and what is assumed.

    Raises:
        SettingError: The file cannot be read, or lacks a number.
    """

    def __init__(self, file: Path = PRICES) -> None:
        self.file = file
        try:
            document = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise SettingError(f"{file}: {error}") from error
        tables = {name: value for name, value in document.items() if isinstance(value, dict)}
        self.entries: Mapping[str, Mapping[str, Any]] = {
            name: entry
            for name, entry in tables.get("prices", {}).items()
            if isinstance(entry, dict)
        }
        self._numbers = {
            **tables.get("measured", {}),
            **tables.get("assumed", {}),
            **tables.get("stage", {}),
        }

    def item(self, price: str, name: str, quantity: float, *, fixed: bool = False) -> Item:
        """So many units at that price."""
        entry = self.entries.get(price, {})
        if "usd" not in entry:
            raise SettingError(f"{self.file} has no prices.{price}.usd")
        dollars = quantity * self._checked(f"prices.{price}.usd", entry["usd"])
        return Item(name, quantity, str(entry.get("unit", "")), dollars, fixed)

    def number(self, name: str) -> float:
        """What was measured or assumed, or is counted in the templates."""
        if name not in self._numbers:
            raise SettingError(f"{self.file} has no {name}")
        return self._checked(name, self._numbers[name])

    def divisor(self, name: str) -> float:
        """Such a number that something is divided by."""
        value = self.number(name)
        if value == 0:
            raise SettingError(f"{self.file}: {name} is 0; it must be more")
        return value

    def _checked(self, key: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
        raise SettingError(f"{self.file}: {key} is {value!r}; it must be a number of 0 or more")

    def unverified(self) -> list[str]:
        """The prices of which no page and no price list of the seller's was read, or two that
        contradict each other."""
        return [name for name, entry in self.entries.items() if not entry.get("verified")]


def compare(workload: Workload, prices: Prices) -> list[Bill]:
    """stashjobs, SQS and Lambda, and an always-on worker, for the same jobs."""
    return [stashjobs(workload, prices), sqs(workload, prices), always_on(workload, prices)]


def stashjobs(workload: Workload, prices: Prices) -> Bill:
    """QStash, API Gateway or a Function URL, Lambda, logs; and what a stage is: its alarms, its
    metrics, the relay and the monitor. A job that fails for good has QStash call back once more,
    always by API Gateway."""
    deliveries = _deliveries(workload, prices)
    failed = workload.jobs * prices.number("failed_share")
    by_gateway = failed + (deliveries if workload.route == "api-gateway" else 0)
    logged = (
        deliveries * prices.number("log_bytes")
        + (deliveries + failed) * prices.number("platform_log_bytes")
        + by_gateway * prices.number("gateway_log_bytes")
    )
    items = [
        prices.item("qstash_message", "QStash messages", workload.jobs),
        prices.item("qstash_retry", "QStash retries", deliveries - workload.jobs),
        prices.item("qstash_message", "QStash callbacks", failed),
        prices.item("api_gateway_request", "API Gateway", by_gateway),
        *_lambda(workload, prices, deliveries, callbacks=failed),
        _logs(logged, prices),
        *_secret_readings(workload, prices, deliveries, prices.number("secrets_of_a_process")),
        _metrics(prices, deliveries),
        *_stage(prices),
    ]
    return Bill("stashjobs", tuple(items), _at_once(workload, prices, _seconds(workload, prices)))


def sqs(workload: Workload, prices: Prices) -> Bill:
    """A queue of AWS's own in place of QStash, with the same function behind it: sent, received and
    deleted one by one. What it polls while the queue is empty is not counted. It is watched as far
    as AWS's own metrics go: there is no metric of ours and no monitor."""
    deliveries = _deliveries(workload, prices)
    types = prices.number("job_types")
    logged = deliveries * (prices.number("log_bytes") + prices.number("platform_log_bytes"))
    items = (
        prices.item("sqs_request", "SQS requests", 2 * workload.jobs + deliveries),
        *_lambda(workload, prices, deliveries),
        _logs(logged, prices),
        *_secret_readings(workload, prices, deliveries, 1),
        *_watched(prices, alarms=types * prices.number("sqs_alarms_per_type"), secrets=1),
    )
    return Bill("SQS + Lambda", items, _at_once(workload, prices, _seconds(workload, prices)))


def always_on(workload: Workload, prices: Prices) -> Bill:
    """Celery on Fargate with a broker, as many workers as the busiest minute asks for, at least
    one, day and night. It is watched as far as AWS's own metrics go."""
    seconds = max(workload.work_milliseconds, 1.0) / 1000
    concurrency = prices.divisor("worker_concurrency")
    needed = _at_once(workload, prices, seconds) / (concurrency * prices.divisor("worker_load"))
    workers = max(1, math.ceil(needed))
    vcpu = workers * MONTH_HOURS * prices.number("worker_vcpu")
    memory = workers * MONTH_HOURS * prices.number("worker_gigabytes")
    logged = _deliveries(workload, prices) * prices.number("log_bytes")
    items = (
        prices.item("fargate_vcpu_hour", "Fargate vCPU", vcpu, fixed=workers == 1),
        prices.item("fargate_gb_hour", "Fargate memory", memory, fixed=workers == 1),
        prices.item("broker_hour", "Broker", MONTH_HOURS, fixed=True),
        _logs(logged, prices),
        *_watched(prices, alarms=prices.number("worker_alarms"), secrets=1),
    )
    return Bill("Celery, always on", items, int(workers * concurrency))


def _deliveries(workload: Workload, prices: Prices) -> float:
    return workload.jobs * (1 + prices.number("retried_share"))


def _lambda(
    workload: Workload, prices: Prices, deliveries: float, *, callbacks: float = 0.0
) -> list[Item]:
    """The functions that run for jobs. What a callback runs does no work of a job's."""
    noting = Workload(1, work_milliseconds=0.0, memory=math.ceil(prices.divisor("small_memory")))
    gigabyte_seconds = (
        deliveries * _seconds(workload, prices) * workload.memory
        + callbacks * _seconds(noting, prices) * noting.memory
    ) / GIGABYTE
    return [
        prices.item("lambda_request", "Lambda requests", deliveries + callbacks),
        prices.item("lambda_gb_second", "Lambda GB-seconds", gigabyte_seconds),
    ]


def _secret_readings(
    workload: Workload, prices: Prices, deliveries: float, secrets: float
) -> list[Item]:
    """Every process of a function reads its secrets when it starts, and again where they are older
    than they may be (docs/settings.md). At most as many processes run all month as types have jobs,
    or as jobs run at once."""
    at_once = _at_once(workload, prices, _seconds(workload, prices))
    processes = max(prices.number("job_types"), at_once)
    most = processes * _readings_of_a_process(prices) + deliveries * prices.number("cold_share")
    return [prices.item("secret_reading", "Secret readings", secrets * min(deliveries, most))]


def _metrics(prices: Prices, deliveries: float) -> Item:
    """A custom metric is paid for each hour in which it was sent: those of a type in the hours in
    which one of its jobs ran. Jobs are taken to be spread, over the types and the month."""
    types = prices.divisor("job_types")
    active = types * min(1.0, deliveries / (types * MONTH_HOURS))
    return prices.item("metric", "Metrics of types", active * prices.number("metrics_per_type"))


def _stage(prices: Prices) -> list[Item]:
    """What a stage costs before its first job."""
    invocations = prices.number("minutely_functions") * MONTH_MINUTES
    seconds = invocations * prices.number("minutely_milliseconds") / 1000
    logged = (
        invocations * prices.number("platform_log_bytes")
        + MONTH_MINUTES * prices.number("monitor_log_bytes")
    ) / 1e9
    read = prices.number("minutely_functions") * _readings_of_a_process(prices)
    read *= prices.number("secrets_of_a_process")
    alarms = prices.number("job_types") * prices.number("alarms_per_type")
    alarms += prices.number("other_alarms")
    gigabyte_seconds = seconds * prices.number("small_memory") / GIGABYTE
    return [
        *_watched(prices, alarms=alarms, secrets=prices.number("secrets")),
        prices.item(
            "composite_alarm", "Composite alarms", prices.number("composite_alarms"), fixed=True
        ),
        prices.item("metric", "Metrics of the stage", prices.number("stage_metrics"), fixed=True),
        prices.item("key", "Key of the alarms", prices.number("keys"), fixed=True),
        prices.item("schedule_invocation", "Scheduler", invocations, fixed=True),
        prices.item("lambda_request", "Relay, monitor: calls", invocations, fixed=True),
        prices.item("lambda_gb_second", "Relay, monitor: time", gigabyte_seconds, fixed=True),
        prices.item("log_gigabyte", "Relay, monitor: logs", logged, fixed=True),
        prices.item("secret_reading", "Relay, monitor: secret", read, fixed=True),
    ]


def _watched(prices: Prices, *, alarms: float, secrets: float) -> list[Item]:
    """What each of the three has: alarms, a dashboard, its settings in a secret."""
    return [
        prices.item("alarm", "Alarms", alarms, fixed=True),
        prices.item("dashboard", "Dashboards", prices.number("dashboards"), fixed=True),
        prices.item("secret", "Secrets", secrets, fixed=True),
    ]


def _readings_of_a_process(prices: Prices) -> float:
    return MONTH_HOURS * 3600 / prices.divisor("secret_seconds")


def _seconds(workload: Workload, prices: Prices) -> float:
    return _milliseconds(workload, prices) / 1000


def _milliseconds(workload: Workload, prices: Prices) -> float:
    """Billed for one delivery, on average. A function has as much of a processor as of memory. Cold
    starts are taken to be as slow, which is an upper bound, and are billed (AWS Compute Blog, "AWS
    Lambda standardizes billing for INIT Phase")."""
    slower = max(1.0, prices.number("full_processor_megabytes") / workload.memory)
    warm = (
        workload.work_milliseconds
        + 2 * prices.number("round_trip_milliseconds")
        + prices.number("cpu_milliseconds") * slower
    )
    cold = prices.number("cold_share") * prices.number("cold_cpu_milliseconds") * slower
    return math.ceil(warm) + cold


def _logs(written: float, prices: Prices) -> Item:
    return prices.item("log_gigabyte", "Logs", written / 1e9)


def _at_once(workload: Workload, prices: Prices, seconds: float) -> int:
    """How many run at once in the busiest minute (Little's law)."""
    deliveries = _deliveries(workload, prices)
    a_second = deliveries / (MONTH_HOURS * 3600) * prices.number("peak_factor")
    return max(1, math.ceil(a_second * seconds))
