"""`stashjobs demo`: the main job, end to end, on this machine."""

from __future__ import annotations

import asyncio
import sys

import click

from infra.commands.dev import checkout, explained


@click.command()
def demo() -> None:
    """Enqueue two emails, deliver them, and show what happened."""
    root = checkout()
    from infra.local.demo import run

    try:
        code = asyncio.run(run(root))
    except Exception as error:
        raise explained(error) from error
    sys.exit(code)
