"""The deployment checklist as a program: `stashjobs doctor` (docs/deployment.md).

Each subject is a module with its CHECKS; each check is a function that looks and returns a verdict.
Nothing here changes anything.
"""

from __future__ import annotations

from stashjobs.producer import qstash_client
from stashjobs.tools.doctor import (
    aws,
    clock,
    email,
    lambdas,
    postgres,
    qstash,
    setting_values,
    stack,
    stripe,
    web,
)
from stashjobs.tools.doctor.finding import Finding, Level, run

__all__ = ["Finding", "Level", "examine", "worst"]

# The groups are looked at side by side, each in its order.
GROUPS = (
    setting_values.CHECKS,
    (*postgres.CHECKS, clock.OF_POSTGRES),
    qstash.CHECKS,
    (*web.CHECKS, clock.OF_THE_API),
    email.CHECKS,
    stripe.CHECKS,
    (*aws.CHECKS, *lambdas.CHECKS),
)
_ORDER = (Level.GREY, Level.GREEN, Level.YELLOW, Level.RED)


def examine() -> list[Finding]:
    """Look at everything. Takes as long as its slowest subject; never raises for what it finds."""
    try:
        return run(GROUPS)
    finally:
        qstash_client.close()
        stack.close()


def worst(findings: list[Finding]) -> Level:
    """The level that matters most."""
    return max((finding.level for finding in findings), key=_ORDER.index, default=Level.GREEN)
