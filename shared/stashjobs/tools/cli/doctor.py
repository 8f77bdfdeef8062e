"""`stashjobs doctor`: is this stage fit to run?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from stashjobs.config import settings
from stashjobs.job_type import declared
from stashjobs.tools.cli.common import command, json_option, load_jobs
from stashjobs.tools.cli.publishing import ask_for_function_urls

if TYPE_CHECKING:
    from stashjobs.tools.doctor import Finding

COLORS = {"green": "green", "yellow": "yellow", "red": "red", "grey": "bright_black"}
SUBJECT_WIDTH = 27


@click.command()
@json_option
@command
def doctor(*, as_json: bool) -> None:
    """Check the deployment; change nothing.

    One line per check: green, yellow (look at it), red (fix it), grey (not checked, and why). The
    exit code is 1 if anything is red.
    """
    from stashjobs.tools import doctor as checklist

    load_jobs()
    ask_for_function_urls(declared())
    findings = checklist.examine()
    worst = checklist.worst(findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"stage": settings.stage(), "worst": worst, "findings": found}))
    else:
        click.echo("\n".join([*map(_line, findings), _summary(findings)]))
    sys.exit(worst == checklist.Level.RED)


def _line(finding: Finding) -> str:
    level = click.style(f"{finding.level:<6}", fg=COLORS[finding.level])
    then = f"  -> {finding.next}" if finding.next else ""
    return f"{level}  {finding.subject:<{SUBJECT_WIDTH}}  {finding.what}{then}"


def _summary(findings: list[Finding]) -> str:
    counts = {level: sum(one.level == level for one in findings) for level in COLORS}
    told = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return f"\n{settings.stage()}: {told}"
