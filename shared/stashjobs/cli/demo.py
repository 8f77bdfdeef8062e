"""`stashjobs demo`: the main job, end to end, on this machine."""

from __future__ import annotations

import asyncio
import sys

import click

from stashjobs.cli.dev import checkout


@click.command()
def demo() -> None:
    """Enqueue two emails, have them delivered, and tell what happened to them."""
    root = checkout()
    from infra.local.demo import run

    sys.exit(asyncio.run(run(root)))
