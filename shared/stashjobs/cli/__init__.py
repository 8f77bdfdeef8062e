"""The command line: `stashjobs COMMAND`. Exit code 0 done, 1 the thing asked for failed, 2 wrong
use.

Each command is a module that is imported when it is called, so that `stashjobs status` does not
wait for what only `stashjobs dev` needs.
"""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "backup": "stashjobs.cli.backup:backup",
    "cancel": "stashjobs.cli.operate:cancel",
    "cost": "stashjobs.cli.cost:cost",
    "demo": "stashjobs.cli.demo:demo",
    "dev": "stashjobs.cli.dev:dev",
    "doctor": "stashjobs.cli.doctor:doctor",
    "enqueue": "stashjobs.cli.enqueue:enqueue",
    "keys": "stashjobs.cli.keys:keys",
    "list": "stashjobs.cli.jobs:list_jobs",
    "migrate": "stashjobs.cli.migrate:migrate",
    "new": "stashjobs.cli.new:new",
    "retry": "stashjobs.cli.operate:retry",
    "schedules": "stashjobs.cli.schedules:schedules",
    "smoke": "stashjobs.cli.smoke:smoke",
    "stats": "stashjobs.cli.types:stats",
    "status": "stashjobs.cli.jobs:status",
    "tokens": "stashjobs.cli.tokens:tokens",
    "types": "stashjobs.cli.types:types",
}


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=Commands)
@click.version_option(package_name="stashjobs")
def main() -> None:
    """Background jobs for AWS Lambda: delivered by QStash, recorded in Postgres."""
