"""`stashjobs dev`: the whole system on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stashjobs.tools.cli.common import HOME_SETTING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from infra.local.gateway import Delivery
    from infra.local.stack import Stack

WRONG_USE = 2
LAST_PORT = 65_500


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, LAST_PORT),
    help="Port of the app; the other parts take those after it. 0 takes any free ones.  "
    "[default: those of the last run, or 8700 and up]",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=HOME_SETTING,
    help="Data directory.  [default: .stashjobs in the repository]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the URLs as one line of JSON.")
@click.option("--verbose", "-v", is_flag=True, help="Print the URL of every part.")
@click.option("--only", type=click.Choice(["qstash"]), help="Run only this part, on --port.")
@click.option("--token", help="With --only qstash: the token to accept.")
def dev(
    *,
    port: int | None,
    home: Path | None,
    as_json: bool,
    verbose: bool,
    only: str | None,
    token: str | None,
) -> None:
    """Run the whole system on this machine: Postgres, QStash, Stripe, S3, mailbox, functions.

    Ctrl-C stops everything; the data stays.
    """
    if token is not None and only is None:
        raise click.UsageError("--token goes with --only qstash")
    root = checkout()
    home = home or root / ".stashjobs"
    if only == "qstash":
        from infra.local.stack import FIRST_PORT

        chosen = FIRST_PORT + 1 if port is None else port
        _until_stopped(_run_qstash(chosen, home, token, as_json=as_json))
        return
    _until_stopped(_run_stack(root, home, port, as_json=as_json, verbose=verbose))


def checkout(*, or_of_this_code: bool = True) -> Path:
    """The repository: here or above, else where this file comes from.

    Args:
        or_of_this_code: False where it is to be changed: then it must be the one that this runs in.
    """
    here = Path.cwd()
    candidates = [here, *here.parents]
    if or_of_this_code:
        candidates.append(Path(__file__).parents[2])
    for root in candidates:
        if (root / "template.yaml").exists() and (root / "infra" / "local").is_dir():
            sys.path.insert(0, str(root))
            return root
    raise _Refusal(
        "this is not a checkout of stashjobs: there is no template.yaml with infra/local beside "
        "it, here or above. Clone the repository, and run this in it."
    )


class _Refusal(click.ClickException):
    """A wrong use, said in one line."""

    exit_code = WRONG_USE


def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; only the first one counts.

    The handlers stay until the process ends: a second Ctrl-C during the clean-up must not cut it
    short.
    """
    stopping = False

    async def main() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: object) -> None:
            nonlocal stopping
            if not stopping:
                stopping = True
                with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                    loop.call_soon_threadsafe(task.cancel)

        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopping:
                raise

    try:
        asyncio.run(main())
    except Exception as error:
        raise explained(error) from error


def explained(error: Exception) -> Exception:
    """What a user can do something about in one line, anything else as it is."""
    from infra.local.stack import StackError
    from infra.local.template import TemplateError
    from stashjobs.tools.servers.ports import PortTakenError
    from stashjobs.tools.servers.postgres import PostgresError

    if isinstance(error, PortTakenError):
        return _Refusal(f"{error}; choose others with --port, or any free ones with --port 0")
    if isinstance(error, StackError | TemplateError):
        return _Refusal(str(error))
    return click.ClickException(str(error)) if isinstance(error, PostgresError) else error


async def _run_stack(
    root: Path, home: Path, port: int | None, *, as_json: bool, verbose: bool
) -> None:
    from infra.local.stack import Stack, read_settings
    from infra.local.template import read_template

    settings = read_settings(root, dict(os.environ), read_template(root / "template.yaml"))
    stack = Stack(
        root,
        home,
        first_port=port,
        settings=settings,
        on_line=None if as_json else _show_line,
        on_delivery=None if as_json else _show_delivery,
    )
    async with stack:
        if as_json:
            ready = {**stack.urls, "home": str(home), "environment": str(stack.environment_file)}
            click.echo(json.dumps(ready))
        else:
            _show_urls(stack, verbose=verbose)
        await _sync_schedules(root, home, quiet=as_json)
        await asyncio.Event().wait()


async def _sync_schedules(root: Path, home: Path, *, quiet: bool) -> None:
    """Bring the schedules that the code declares to the local QStash, as a deploy does."""
    arguments = ("schedules", "sync", "--stage", "local", "--home", str(home))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stashjobs",
        *arguments,
        cwd=root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    if not quiet:
        for line in told.decode(errors="replace").splitlines():
            click.echo(f"{click.style('schedules', dim=True)} | {line}", err=True)


async def _run_qstash(port: int, home: Path, token: str | None, *, as_json: bool) -> None:
    from infra.local.stack import QSTASH, StackError, load_secrets, lock, qstash_server
    from stashjobs.tools.servers.ports import ensure_port_is_free

    try:
        handle = lock(home)
    except StackError:
        raise _Refusal(
            f"`stashjobs dev` runs with {home} already, and has a QStash: its URL and keys are in "
            f"{home / 'dev.env'}. For another one, give --home another folder"
        ) from None
    try:
        ensure_port_is_free(port)
        kept = {name: value for name, value in load_secrets(home).items() if name in QSTASH}
        kept |= {} if token is None else {"QSTASH_TOKEN": token}
        server = qstash_server(home, port, kept)
        try:
            await server.start()
            values = {"QSTASH_URL": server.url, **kept}
            lines = (f"{name}={value}" for name, value in values.items())
            click.echo(json.dumps(values) if as_json else "\n".join(lines))
            await asyncio.Event().wait()
        finally:
            await server.stop()
    finally:
        os.close(handle)


def _show_urls(stack: Stack, *, verbose: bool) -> None:
    urls = dict(stack.urls)
    routes = [route for each in stack.template.functions.values() for route in each.routes]
    if any(route.path.startswith("/admin") for route in routes):
        token = _from_here(stack.environment_file)
        urls["app"] += f"  (opens the dashboard; its token is ADMIN_TOKEN in {token})"
    first = ("app", "qstash", "mailbox")
    rest = sorted(urls.keys() - {*first}) if verbose else []
    width = max(len(name) for name in (*first, *rest))
    for name in (*first, *rest):
        click.echo(f"{name:<{width}}  {urls[name]}")
    if verbose:
        click.echo(f"{'data':<{width}}  {_from_here(stack.home)}")


def _from_here(path: Path) -> str:
    """A path as it is typed in this folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _show_delivery(delivery: Delivery) -> None:
    color = "green" if delivery.status < 400 else "yellow" if delivery.status < 500 else "red"
    status = click.style(str(delivery.status), fg=color)
    hint = "  (no route in template.yaml; add it and restart)" if delivery.unrouted else ""
    took = f"{delivery.milliseconds:.0f} ms"
    click.echo(f"{delivery.method:<6} {delivery.path}  {status}  {took}{hint}")


def _show_line(name: str, line: str) -> None:
    """What a function wrote; of a JSON log line only what matters here: logs/ has all of it."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict) and "_aws" in record:
            return  # metrics, which only CloudWatch reads
        if isinstance(record, dict) and "message" in record:
            facts = [record.get("level"), record["message"], record.get("job_id")]
            line = " ".join(str(fact) for fact in facts if fact)
            line += f": {record['error']}" if record.get("error") else ""
    click.echo(f"{click.style(name, dim=True)} | {line}", err=True)
