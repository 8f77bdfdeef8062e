"""`stashjobs cost`: what a month of jobs costs, and what it would cost otherwise."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import cast

import click

from stashjobs.errors import SettingError
from stashjobs.tools import costs
from stashjobs.tools.cli.common import WrongUse, command, json_option


@click.command()
@click.option("--jobs-per-month", type=click.IntRange(min=1), required=True)
@click.option(
    "--work-ms",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    help="Duration of a job's own work, in ms.",
)
@click.option(
    "--memory",
    type=click.IntRange(128, 10_240),
    default=256,
    show_default=True,
    help="Memory of the function, in MB.",
)
@click.option(
    "--through",
    type=click.Choice(["api-gateway", "function-url"]),
    default="api-gateway",
    show_default=True,
)
@click.option(
    "--prices",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=costs.PRICES,
    help="Your own prices, in the format of prices.toml.",
)
@json_option
@command
def cost(
    *,
    jobs_per_month: int,
    work_ms: float,
    memory: int,
    through: str,
    file: Path,
    as_json: bool,
) -> None:
    """Estimate what a month of jobs costs: stashjobs, SQS + Lambda, an always-on Celery.

    docs/cost.md says what is counted and where the prices come from.
    """
    workload = costs.Workload(jobs_per_month, work_ms, memory, cast("costs.Route", through))
    try:
        prices = costs.Prices(file)
        bills = costs.compare(workload, prices)
    except SettingError as error:  # of a file, so `stashjobs dev` is no help
        raise WrongUse(str(error)) from error
    if as_json:
        documents = [
            asdict(bill) | {"dollars": bill.dollars, "fixed_dollars": bill.fixed_dollars}
            for bill in bills
        ]
        click.echo(json.dumps({"bills": documents, "unverified": prices.unverified()}))
        return
    click.echo("\n\n".join(_tell(bill) for bill in bills))
    unverified = ", ".join(prices.unverified())
    click.echo(
        "\nUS dollars, without free tiers, tax and data transfer; Postgres is the same for all.\n"
        "Not in it: a NAT gateway for functions in a VPC, and a database that the relay and the "
        "monitor keep awake (docs/cost.md)."
    )
    if unverified:
        click.echo(f"Not verified: {unverified}. Check them; {prices.file.name} says why.")


def _tell(bill: costs.Bill) -> str:
    of_it = f"{bill.fixed_dollars:,.2f} of it however few the jobs"
    lines = [f"{bill.way:<24}{bill.dollars:>12,.2f}   a month, per stage; {of_it}"]
    lines += [
        f"  {item.name:<22}{item.dollars:>12,.2f}   {_quantity(item.quantity)} x {item.unit}"
        f"{' (fixed)' if item.fixed else ''}"
        for item in bill.items
    ]
    lines.append(f"  {'Postgres connections':<22}{bill.connections:>12,}   in the busiest minute")
    return "\n".join(lines)


def _quantity(amount: float) -> str:
    """Six digits that count, and never an exponent."""
    digits = max(0, 5 - math.floor(math.log10(abs(amount)))) if amount else 0
    text = f"{amount:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
