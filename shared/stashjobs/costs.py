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
    """A line of a bill: so many units of something."""

    name: str
    quantity: float
    unit: str
    dollars: float


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
        self.entries: Mapping[str, Mapping[str, Any]] = document.get("prices", {})
        self._numbers = {**document.get("measured", {}), **document.get("assumed", {})}

    def item(self, price: str, name: str, quantity: float) -> Item:
        """So many units at that price."""
        entry = self.entries.get(price, {})
        if "usd" not in entry:
            raise SettingError(f"{self.file} has no prices.{price}.usd")
        return Item(name, quantity, str(entry.get("unit", "")), quantity * float(entry["usd"]))

    def number(self, name: str) -> float:
        """What was measured or assumed."""
        if name not in self._numbers:
            raise SettingError(f"{self.file} has no {name}")
        return float(self._numbers[name])

    def unverified(self) -> list[str]:
        """The prices that were not read on their seller's own page."""
        return [name for name, entry in self.entries.items() if not entry.get("verified")]


def compare(workload: Workload, prices: Prices) -> list[Bill]:
    """stashjobs, SQS and Lambda, and an always-on worker, for the same jobs."""
    return [stashjobs(workload, prices), sqs(workload, prices), always_on(workload, prices)]


def stashjobs(workload: Workload, prices: Prices) -> Bill:
    """QStash, API Gateway or a Function URL, Lambda, logs."""
    deliveries = workload.jobs * (1 + prices.number("retried_share"))
    items = [
        prices.item("qstash_message", "QStash messages", workload.jobs),
        prices.item("qstash_retry", "QStash retries", deliveries - workload.jobs),
    ]
    if workload.route == "api-gateway":  # a Function URL costs nothing beyond Lambda
        items.append(prices.item("api_gateway_request", "API Gateway", deliveries))
    items += _lambda(workload, prices, deliveries)
    seconds = _milliseconds(workload, prices) / 1000
    return Bill("stashjobs", tuple(items), _at_once(workload, prices, seconds))


def sqs(workload: Workload, prices: Prices) -> Bill:
    """A queue of AWS's own in place of QStash, with the same function behind it: sent, received and
    deleted one by one. What it polls while the queue is empty is not counted."""
    deliveries = workload.jobs * (1 + prices.number("retried_share"))
    requests = 2 * workload.jobs + deliveries
    items = (
        prices.item("sqs_request", "SQS requests", requests),
        *_lambda(workload, prices, deliveries),
    )
    seconds = _milliseconds(workload, prices) / 1000
    return Bill("SQS + Lambda", items, _at_once(workload, prices, seconds))


def always_on(workload: Workload, prices: Prices) -> Bill:
    """Celery on Fargate with a broker, as many workers as the busiest minute asks for, at least
    one, day and night."""
    seconds = max(workload.work_milliseconds, 1.0) / 1000
    concurrency = prices.number("worker_concurrency")
    needed = _at_once(workload, prices, seconds) / (concurrency * prices.number("worker_load"))
    workers = max(1, math.ceil(needed))
    hours = workers * MONTH_HOURS
    items = (
        prices.item("fargate_vcpu_hour", "Fargate vCPU", hours * prices.number("worker_vcpu")),
        prices.item("fargate_gb_hour", "Fargate memory", hours * prices.number("worker_gigabytes")),
        prices.item("broker_hour", "Broker", MONTH_HOURS),
        _logs(workload.jobs, prices),
    )
    return Bill("Celery, always on", items, int(workers * concurrency))


def _lambda(workload: Workload, prices: Prices, deliveries: float) -> list[Item]:
    gigabyte_seconds = (
        deliveries * _milliseconds(workload, prices) / 1000 * workload.memory / GIGABYTE
    )
    return [
        prices.item("lambda_request", "Lambda requests", deliveries),
        prices.item("lambda_gb_second", "Lambda GB-seconds", gigabyte_seconds),
        _logs(deliveries, prices),
    ]


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


def _logs(deliveries: float, prices: Prices) -> Item:
    return prices.item("log_gigabyte", "Logs", deliveries * prices.number("log_bytes") / 1e9)


def _at_once(workload: Workload, prices: Prices, seconds: float) -> int:
    """How many run at once in the busiest minute (Little's law)."""
    a_second = workload.jobs / (MONTH_HOURS * 3600) * prices.number("peak_factor")
    return max(1, math.ceil(a_second * seconds))
