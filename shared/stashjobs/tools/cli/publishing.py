"""Where jobs are delivered, for the commands that publish.

The functions of a stage are told each other's URLs by the template. The command line runs
elsewhere, so it asks the stack. Without them a job that may take longer than API Gateway waits
would be led to its route there, and be stopped after 29 seconds again and again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from stashjobs.config import settings
from stashjobs.delivery.receive import GATEWAY_SECONDS
from stashjobs.errors import SettingError
from stashjobs.producer import message as messages
from stashjobs.tools.cli.common import local_home

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stashjobs.job_type import JobType

HELP = (
    "Run this with credentials for AWS, so that the stack can be asked, or set it "
    "(see docs/deployment.md, Function URLs)."
)


def ask_for_function_urls(jobs: Iterable[JobType[Any, Any]]) -> list[str]:
    """Put what the stack says into the environment, where a job needs it and it is not set.

    Returns:
        The settings that are still missing, one for each job that needs it. The local stage has
        none, and needs none.
    """
    jobs = list(jobs)
    if settings.stage() == "local" or not _missing(jobs):
        return []
    from stashjobs.tools.doctor import stack

    try:
        for name, url in stack.function_urls().items():
            if not os.environ.get(name):
                os.environ[name] = url
    except (stack.NotHere, ModuleNotFoundError):
        pass  # the code that needs it names what is missing
    finally:
        stack.close()
    return _missing(jobs)


def warn_without_function_urls(jobs: Iterable[JobType[Any, Any]]) -> None:
    """Ask for them, and say which are missing: the job is recorded all the same."""
    if missing := ask_for_function_urls(jobs):
        click.echo(f"Warning: {_told(missing)}", err=True)


def warn_without_route(job: JobType[Any, Any]) -> None:
    """Say where a running `stashjobs dev` does not serve the job's route: the job is recorded all
    the same, and tried again. For a deployed stage `stashjobs doctor` looks."""
    served = local_home() / "routes"
    if settings.stage() != "local" or not served.exists():
        return
    if job.endpoint not in served.read_text().splitlines():
        click.echo(
            f"Warning: stashjobs dev has no route {job.endpoint} for {job.type}: give it one in "
            "template.yaml, then restart stashjobs dev.",
            err=True,
        )


def require_function_urls(jobs: Iterable[JobType[Any, Any]]) -> None:
    """Ask for them, and stop where one is missing: a wrong address would be used for months.

    Raises:
        SettingError: It names them.
    """
    if missing := ask_for_function_urls(jobs):
        raise SettingError(_told(missing))


def _missing(jobs: Iterable[JobType[Any, Any]]) -> list[str]:
    names = (
        messages.function_url_setting(job.type) for job in jobs if job.timeout > GATEWAY_SECONDS
    )
    return sorted({name for name in names if settings.optional(name) is None})


def _told(missing: list[str]) -> str:
    return (
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, and API Gateway "
        f"hangs up on a job after 30 seconds. {HELP}"
    )
