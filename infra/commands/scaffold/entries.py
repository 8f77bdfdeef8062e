"""Entries that are not a block of YAML: shares of the connections, log groups, a table's row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.commands.scaffold.texts import Misfit

if TYPE_CHECKING:
    from infra.commands.scaffold.texts import YamlText
    from infra.commands.scaffold.wanted import Wanted

# So much of a budget a new type begins with; raise it once its load is known.
SHARE_OF_BUDGET = 1 / 40
OPERATORS = "Operators"


def share_connections(text: YamlText, budget: str, wanted: Wanted) -> None:
    """Give the new function its share of one budget: what is free, and the rest from the type with
    the most. Operators keep theirs."""
    place = ("Mappings", "Connections", budget)
    shares = {name: _share(text, place, name, value) for name, value in text.values(*place).items()}
    free = int(budget) - sum(shares.values())
    share = max(1, int(int(budget) * SHARE_OF_BUDGET))
    for _ in range(share - max(0, free)):
        richest = max((name for name in shares if name != OPERATORS), key=shares.__getitem__)
        if shares[richest] == 1:
            raise Misfit(
                f"{text.name}: of the {budget} connections in Mappings.Connections every function "
                "has one; there is none for another. Offer a larger MaxConnections "
                "(docs/connections.md)"
            )
        shares[richest] -= 1
        text.set(shares[richest], *place, richest)
    text.add_before(f"{wanted.logical}Function: {share}", *place, OPERATORS)


def _share(text: YamlText, place: tuple[str, ...], name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]+", value):
        where = ".".join((*place, name))
        raise Misfit(f"{text.name}: {where} is {value!r}; a share is a whole number on that line")
    return int(value)


def tell_function_url(text: YamlText, wanted: Wanted) -> None:
    """A setting of the stack's secret, which tells every function where each is reached."""
    last = re.search(r'^( *)"WEBHOOK_SOURCES":', text.text, re.MULTILINE)
    if last is None:
        raise Misfit(f'{text.name}: the secret has no line that begins with "WEBHOOK_SOURCES":')
    line = f'"FUNCTION_URL_{wanted.setting}": "${{{wanted.logical}FunctionUrl.FunctionUrl}}",'
    text.text = f"{text.text[: last.start()]}{last[1]}{line}\n{text.text[last.start() :]}"


def in_dashboard(path: str, text: str, wanted: Wanted) -> str:
    """The log group, to each list of those that the dashboard's queries read."""
    found, count = re.subn(
        r"((?:SOURCE '/stashjobs/\$\{Stage\}/[\w-]+' \| )+)",
        rf"\g<1>SOURCE '/stashjobs/${{Stage}}/{wanted.type}' | ",
        text,
    )
    if not count:
        raise Misfit(f"{path}: there is no list of log groups (SOURCE '/stashjobs/${{Stage}}/…')")
    return found


def in_overview(path: str, text: str, wanted: Wanted) -> str:
    """A row, at the end of the table of the job types."""
    table = re.search(r"^\| type \| page \|\n(\|.*\n)+", text, re.MULTILINE)
    if table is None:
        raise Misfit(f"{path}: there is no table of the job types (| type | page |)")
    row = f"| `{wanted.type}` | [{wanted.type}.md]({wanted.type}.md) |\n"
    return text[: table.end()] + row + text[table.end() :]
