"""The command line: `stashjobs COMMAND`. Exit code 0 done, 1 the thing asked for failed, 2 wrong
use.

Each command is a module that is imported when it is called, so that `stashjobs status` does not
wait for what only `stashjobs dev` needs.
"""

from __future__ import annotations

import difflib
import importlib

import click

COMMANDS = {
    "backup": "stashjobs.tools.cli.backup:backup",
    "batches": "stashjobs.tools.cli.batches:list_batches",
    "cancel": "stashjobs.tools.cli.operate:cancel",
    "cost": "stashjobs.tools.cli.cost:cost",
    "dead-letters": "stashjobs.tools.cli.dead_letters:dead_letters",
    "delete": "stashjobs.tools.cli.waiting:delete",
    "demo": "infra.commands.demo:demo",
    "dev": "infra.commands.dev:dev",
    "doctor": "stashjobs.tools.cli.doctor:doctor",
    "edit": "stashjobs.tools.cli.waiting:edit",
    "enqueue": "stashjobs.tools.cli.enqueue:enqueue",
    "keys": "stashjobs.tools.cli.keys:keys",
    "limit": "stashjobs.tools.cli.job_types:limit",
    "list": "stashjobs.tools.cli.jobs:list_jobs",
    "migrate": "stashjobs.tools.cli.migrate:migrate",
    "new": "infra.commands.new:new",
    "pause": "stashjobs.tools.cli.job_types:pause",
    "remove": "infra.commands.remove:remove",
    "reschedule": "stashjobs.tools.cli.waiting:reschedule",
    "resume": "stashjobs.tools.cli.job_types:resume",
    "retry": "stashjobs.tools.cli.operate:retry",
    "run-now": "stashjobs.tools.cli.waiting:run_now",
    "schedules": "stashjobs.tools.cli.schedules:schedules",
    "smoke": "stashjobs.tools.cli.smoke:smoke",
    "stats": "stashjobs.tools.cli.types:stats",
    "status": "stashjobs.tools.cli.jobs:status",
    "tokens": "stashjobs.tools.cli.tokens:tokens",
    "types": "stashjobs.tools.cli.types:types",
}


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1) if args else []
            if not near:
                raise
            raise click.UsageError(
                f"No such command {args[0]!r}. Did you mean {near[0]}?", ctx
            ) from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "infra":
                raise
            return _needs_a_checkout(cmd_name)
        return command


def _needs_a_checkout(name: str) -> click.Command:
    """In place of a command that the package does not have."""

    def refuse(**_: object) -> None:
        raise click.UsageError(
            "this is not a checkout of stashjobs, and only a checkout has this command. "
            "Clone the repository, and run it there."
        )

    argument = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        name,
        callback=refuse,
        params=[argument],
        help="Only in a checkout.",
        context_settings={"ignore_unknown_options": True},
    )


@click.command(cls=Commands)
@click.version_option(package_name="stashjobs")
def main() -> None:
    """Background jobs for AWS Lambda: delivered by QStash, recorded in Postgres."""
