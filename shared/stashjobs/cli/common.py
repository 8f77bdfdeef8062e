"""What the commands share: which stage they speak to, and how they say what went wrong."""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from dotenv import dotenv_values

from stashjobs.errors import (
    InvalidPayload,
    PayloadTooLarge,
    SettingError,
    StashjobsError,
    UnknownJobType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

WRONG_USE = 2
LOCAL_STACK_SETTINGS = Path(".stashjobs/dev.env")

json_option = click.option("--json", "as_json", is_flag=True, help="For machines: JSON.")


class WrongUse(click.ClickException):
    """What was asked for makes no sense; nothing was changed."""

    exit_code = WRONG_USE


def command(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command its `--stage`, its settings, and clear words for what goes wrong."""

    @click.option(
        "--stage",
        type=click.Choice(["local", "dev", "staging", "production"]),
        default=None,
        help="Whose settings to use.  [default: STAGE, else local]",
    )
    @functools.wraps(function)
    def run(*, stage: str | None, **options: Any) -> R:
        load_settings(stage)
        try:
            return function(**options)
        except SettingError as error:
            raise WrongUse(f"{error}{_local_hint()}") from error
        except (InvalidPayload, PayloadTooLarge, UnknownJobType) as error:
            raise WrongUse(str(error)) from error
        except StashjobsError as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            import psycopg

            if isinstance(error, psycopg.OperationalError):
                reason = f"Postgres cannot be reached: {error}".rstrip()
                raise click.ClickException(f"{reason}{_local_hint()}") from error
            raise

    return run


def _local_hint() -> str:
    """Most often it is this."""
    if os.environ.get("STAGE") != "local":
        return ""
    return f"\nFor a local one, run `stashjobs dev`; it writes {LOCAL_STACK_SETTINGS} here."


def load_settings(stage: str | None) -> None:
    """Put the stage's settings into the environment. What is set there already wins.

    For `local` they are those of a running `stashjobs dev`, then those of .env; for another stage
    those of .env.<stage>, then of .env.
    """
    stage = stage or os.environ.get("STAGE") or "local"
    os.environ["STAGE"] = stage
    files = [LOCAL_STACK_SETTINGS if stage == "local" else Path(f".env.{stage}"), Path(".env")]
    for file in files:
        for name, value in dotenv_values(file).items():
            if value and not os.environ.get(name):
                os.environ[name] = value


def load_jobs() -> None:
    """Declare every job type of the checkout this runs in."""
    from stashjobs.job import load

    sys.path.insert(0, str(Path.cwd()))
    try:
        load()
    except ModuleNotFoundError as error:
        if error.name != "functions":
            raise
        raise WrongUse("there is no functions/ here; run this in a checkout") from error


def parse_json(text: str) -> Any:
    """JSON from an argument, or from standard input where the argument is `-`."""
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise WrongUse(f"the payload is not JSON: {error}") from error
