"""`stashjobs keys`: the keys that encrypt payloads, from making one to retiring it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from stashjobs import encryption
from stashjobs.config import settings
from stashjobs.errors import StashjobsError
from stashjobs.operators import key_rotation
from stashjobs.tools.cli.common import WrongUse, command, json_option
from stashjobs.wording import plural


@click.group()
def keys() -> None:
    """Make and rotate the keys in PAYLOAD_KEYS."""


@keys.command()
@click.option("--id", "key_id", help="Id of the key.  [default: today's date, as 2026-11-05]")
@json_option
@command
def new(*, key_id: str | None, as_json: bool) -> None:
    """Generate a key and show where to put it.

    The key goes to standard output, alone; everything else to standard error.
    """
    has_keys = settings.optional(encryption.SETTING) is not None
    taken = list(encryption.keys().by_id) if has_keys else []
    if key_id is None:
        key_id = _free_id(taken)
    elif not encryption.is_key_id(key_id):
        raise WrongUse("--id: 1 to 32 letters, digits, dots, hyphens or underscores")
    elif key_id in taken:
        raise WrongUse(f"--id: {key_id} is in PAYLOAD_KEYS already; an id stands for one key")
    entry = encryption.new_entry(key_id)
    if as_json:
        click.echo(json.dumps({"entry": entry}))
        return
    click.echo(entry)
    click.echo(_advice(key_id, taken), err=True)


def _free_id(taken: list[str]) -> str:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    later = (f"{today}.{number}" for number in range(2, 1000))
    return next(key_id for key_id in (today, *later) if key_id not in taken)


def _advice(key_id: str, taken: list[str]) -> str:
    if not taken:
        return "Set PAYLOAD_KEYS to this, in every app that enqueues and in the stage's secret."
    others = ",".join(f"{other}:…" for other in taken)
    return (
        f"1. Add it, last, everywhere:     PAYLOAD_KEYS={others},{key_id}:…\n"
        f"2. Then put it first, everywhere: PAYLOAD_KEYS={key_id}:…,{others}\n"
        "3. Then: stashjobs keys rotate. It says which old keys may be retired."
    )


@keys.command()
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=key_rotation.BATCH,
    show_default=True,
    help="Rows per statement.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
@command
def rotate(*, batch: int, dry_run: bool, as_json: bool) -> None:
    """Re-encrypt with the first key what other keys encrypted.

    Deliveries go on meanwhile. Every worker must have the first key already.
    """
    settings.act_as_owner()
    known = encryption.keys()
    report = key_rotation.rotate_keys(batch=batch, dry_run=dry_run)
    if as_json:
        document = asdict(report) | {"current": known.current.id, "dry_run": dry_run}
        # Scripts read the member by its first name.
        document["resealed"] = document.pop("reencrypted")
        click.echo(json.dumps(document))
    else:
        click.echo(_tell(report, known, dry_run=dry_run))
    if report.unopened:
        raise StashjobsError(
            f"{plural(report.unopened, 'encrypted document')} could not be decrypted and stayed "
            "unchanged: the key is not in PAYLOAD_KEYS, or they are damaged. The log names them."
        )


def _tell(report: key_rotation.Rotation, known: encryption.Keys, *, dry_run: bool) -> str:
    current = known.current.id
    done = "to re-encrypt" if dry_run else "re-encrypted"
    lines = [f"Payloads and results {done} with {current}: {report.reencrypted}."]
    if report.passed_over:
        lines.append(f"In use by others and passed over: {report.passed_over}. Run this again.")
    lines.append("Encrypted documents per key:")
    for key_id in [*known.by_id, *(report.by_key.keys() - known.by_id.keys())]:
        count = report.by_key.get(key_id, 0)
        if key_id == current:
            note = "current"
        elif key_id not in known.by_id:
            note = "not in PAYLOAD_KEYS: put it back"
        elif count:
            note = "still needed"
        else:
            note = "no row needs it: retire it once nothing encrypts with it any more"
        lines.append(f"  {key_id:<32}  {count:>10}  {note}")
    return "\n".join(lines)
