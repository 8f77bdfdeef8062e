"""What the commands share: which stage they speak to, and how they say what went wrong."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from dotenv import dotenv_values

from stashjobs.config import settings, stage_secret
from stashjobs.errors import (
    InvalidPayload,
    PayloadTooLarge,
    SettingError,
    StashjobsError,
    UnknownJobType,
)
from stashjobs.observability import redaction
from stashjobs.tools.servers import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")

WRONG_USE = 2
# Where `stashjobs dev` keeps its data, and what it writes there for other shells.
HOME_SETTING = "STASHJOBS_HOME"
DEFAULT_HOME = Path(".stashjobs")

_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class WrongUse(click.ClickException):
    """What was asked for makes no sense; nothing was changed."""

    exit_code = WRONG_USE


def command(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command its `--stage`, its settings, and clear words for what goes wrong."""

    @click.option(
        "--stage",
        type=click.Choice(["local", "dev", "staging", "production"]),
        default=None,
        help="The stage whose settings to use.  [default: STAGE, else local]",
    )
    @click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=HOME_SETTING,
        help="Data directory of `stashjobs dev`, for the stage local.  [default: .stashjobs]",
    )
    @functools.wraps(function)
    def run(*, stage: str | None, home: Path | None, **options: Any) -> R:
        load_settings(stage, home)
        try:
            return function(**options)
        except SettingError as error:
            raise WrongUse(f"{error}{_local_hint()}") from error
        except (InvalidPayload, PayloadTooLarge, UnknownJobType) as error:
            raise WrongUse(str(error)) from error
        except ModuleNotFoundError as error:
            raise WrongUse(redaction.one_line(error)) from error
        except StashjobsError as error:
            if _is_refused_by_postgres(error.__cause__):
                raise WrongUse(str(error)) from error
            raise click.ClickException(str(error)) from error
        except Exception as error:
            import psycopg

            if isinstance(error, psycopg.Error) and _is_refused_by_postgres(error):
                raise WrongUse(
                    f"Postgres refuses: {error.diag.message_primary}. Run `stashjobs migrate` "
                    "first, and use a role that may do this (docs/security.md, Two roles)"
                ) from error
            if isinstance(error, psycopg.OperationalError):
                reason = f"Postgres cannot be reached: {error}".rstrip()
                raise click.ClickException(f"{reason}{_local_hint()}") from error
            raise
        finally:
            settings.act_as_owner(acts=False)

    return run


def _is_refused_by_postgres(error: BaseException | None) -> bool:
    """Whether this role, this database or this schema is not one in which it can be done."""
    from psycopg import errors

    return isinstance(
        error,
        (
            errors.InsufficientPrivilege,
            errors.InvalidSchemaName,
            errors.ReadOnlySqlTransaction,
            errors.UndefinedFunction,
            errors.UndefinedTable,
        ),
    )


def _local_hint() -> str:
    """Most often it is this."""
    if os.environ.get("STAGE") != "local":
        return ""
    return f"\nFor a local one, run `stashjobs dev`; it writes {local_home() / 'dev.env'}."


def local_home() -> Path:
    """Where the `stashjobs dev` that is meant keeps its data."""
    return Path(os.environ.get(HOME_SETTING) or DEFAULT_HOME)


def load_settings(stage: str | None, home: Path | None = None) -> None:
    """Put the stage's settings into the environment. What is set there already wins.

    For `local` they are those of a running `stashjobs dev`, whose data is in `home`, then those of
    .env. For another stage they are those of .env.<stage>, then of the secret that SETTINGS_SECRET
    names, by default the stage's own; .env, a developer's, is not read. One line on standard error
    says so.

    Raises:
        WrongUse: No `stashjobs dev` runs with this home.
    """
    stage = stage or os.environ.get("STAGE") or "local"
    os.environ["STAGE"] = stage
    if home is not None and stage == "local":
        os.environ[HOME_SETTING] = str(home)
        if not (home / "dev.env").exists():
            raise WrongUse(f"no `stashjobs dev --home {home}` runs: there is no dev.env in it")
    if stage == "local":
        own = local_home() / "dev.env"
        _read(own)
        _read(Path(".env"))
        if own.exists():
            surroundings.keep_away()
        return
    shell = [name for name in _DECISIVE if os.environ.get(name)]
    file = Path(f".env.{stage}")
    _read(file)
    if not (os.environ.get("POSTGRES_URL") or os.environ.get(stage_secret.SETTING)):
        os.environ[stage_secret.SETTING] = f"stashjobs/{stage},stashjobs/{stage}/stack"
    places = [f"{', '.join(shell)} of this shell"] if shell else []
    places += [str(file)] if file.exists() else []
    places += [
        f"the secret {part.strip()}"
        for part in (stage_secret.name_of_secret() or "").split(",")
        if part.strip()
    ]
    passed_over = "; .env is for the stage local, and is not read" if Path(".env").exists() else ""
    click.echo(f"Settings of {stage}: {', then '.join(places)}{passed_over}.", err=True)


# What tells which stage a command reaches.
_DECISIVE = ("POSTGRES_URL", "QSTASH_TOKEN", "BASE_URL")


def _read(file: Path) -> None:
    try:
        values = dotenv_values(file, encoding="utf-8-sig")  # Windows' editors write the mark
    except UnicodeDecodeError:
        raise WrongUse(f"{file} is not UTF-8 text; save it as UTF-8 again") from None
    for name, value in values.items():
        if value and not os.environ.get(name):
            os.environ[name] = value


def load_jobs() -> None:
    """Declare every job type of the checkout this runs in."""
    from stashjobs.job_type import load

    sys.path.insert(0, str(Path.cwd()))
    try:
        load()
    except StashjobsError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "functions":
            raise WrongUse("there is no functions/ here; run this in a checkout") from error
        raise WrongUse(
            f"{_where_it_is_wrong(error)}. No job can be loaded until it is corrected"
        ) from error


def _where_it_is_wrong(error: Exception) -> str:
    """The file, the line and one sentence, in place of the traceback of an import."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno or 1}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "functions" in Path(frame.filename).parts] or frames
    words = redaction.one_line(error)
    return f"{own[-1].filename}, line {own[-1].lineno}: {words}"


def job_id_of(text: str) -> str:
    """The id of the job that is meant, by its id or a part of it (`search.id_of`).

    Raises:
        NoSuchJob | NotPossible: There is none, or there are several.
    """
    from stashjobs.operators import search
    from stashjobs.store import database

    return search.id_of(database.connection(), text)


def complete_types(_context: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """The job types of this checkout, for a shell that completes one."""
    from stashjobs.job_type import declared

    with contextlib.suppress(Exception):
        load_jobs()
    return [job.type for job in declared() if job.type.startswith(begun)]


def refuse_unknown_type(job_type: str | None) -> None:
    """A type that is neither declared nor has a job is misspelt. None is no type, and well.

    Raises:
        WrongUse: The message lists the types there are.
    """
    if job_type is None:
        return
    from stashjobs.job_type import close_to, declared
    from stashjobs.operators import search
    from stashjobs.store import database

    with_jobs = search.read_types(database.connection())
    if job_type in with_jobs:  # of code that is not here, perhaps
        return
    load_jobs()
    known = sorted({*with_jobs, *(job.type for job in declared())})
    if job_type not in known:
        near = close_to(job_type, known)
        raise WrongUse(f"unknown job type {job_type!r}; there are {', '.join(known)}{near}")


def parse_json(text: str) -> Any:
    """JSON from an argument, or from standard input where the argument is `-`."""
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise WrongUse(f"the payload is not JSON: {error}") from error


def json_object(text: str) -> dict[str, Any]:
    """The value of an option that is a JSON object."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise click.BadParameter(f'{text[:100]!r} is not a JSON object; write {{"from": "signup"}}')
    return document


def age(text: str) -> timedelta:
    """The value of an option that is a duration: 90s, 10m, 2h, 7d."""
    number, unit = text[:-1], text[-1:]
    if unit not in _AGE_UNITS or not number.isascii() or not number.isdigit():
        raise click.BadParameter(f"{text!r} is not an age; write 90s, 10m, 2h or 7d")
    try:
        return timedelta(**{_AGE_UNITS[unit]: int(number)})
    except OverflowError:
        raise click.BadParameter(f"{text!r}: no calendar goes so far") from None


def moment(text: str) -> datetime:
    """The value of an option that is a moment."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time; write 2030-01-31T09:00:00Z") from None


def age_or_moment(text: str) -> timedelta | datetime:
    """The value of an option that is either."""
    return age(text) if text[-1:] in _AGE_UNITS else moment(text)
