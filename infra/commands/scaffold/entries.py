"""The entries of a new type in the files that there are. They are inserted as text, so that
comments and form stay; ruamel.yaml breaks the templates' lines elsewhere."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from infra.commands.scaffold.filling import filled
from infra.commands.scaffold.proof import Misfit

if TYPE_CHECKING:
    from infra.commands.scaffold.wanted import Wanted

TEMPLATE = "template.yaml"
ALARMS = "infra/alarms.yaml"
DASHBOARD = "infra/dashboard.yaml"
OVERVIEW = "docs/creating-jobs.md"

# Each place as far as the entry: the lines of a part of a template, or what stands before it.
RESOURCES = r"^Resources:\n(?:(?: .*)?\n)+"
OUTPUTS = r"^Outputs:\n(?: .*\n)+"
SETTINGS = r"^ *\"OTEL_EXPORTER_OTLP_ENDPOINT\": .*\n"
LOG_GROUPS = r"(?:SOURCE '/stashjobs/\$\{Stage\}/[\w-]+' \| )+"
TYPES = r"^\| type \| page \|\n(?:\|.*\n)+"
SHARES = r'^    "(\d+)":\n((?:      .*\n)+)'

# A new type begins with a fortieth of the connections; raise it once its load is known.
PART_OF_BUDGET = 40
OPERATORS = "Operators"
# They declare no parallelism that their share must cover.
WITHOUT_PARALLELISM = {"ApiFunction", "WebhooksFunction"}


def entries(wanted: Wanted) -> list[tuple[str, str, str]]:
    """Each a file, a place in it as a pattern, and the text that is to stand at its end."""
    added = [
        (TEMPLATE, RESOURCES, _indented("function.yaml", wanted) + "\n"),
        (TEMPLATE, OUTPUTS, _indented("output.yaml", wanted)),
        (ALARMS, RESOURCES, _indented("alarms.yaml", wanted) + "\n"),
        (DASHBOARD, LOG_GROUPS, f"SOURCE '/stashjobs/${{Stage}}/{wanted.type}' | "),
        (OVERVIEW, TYPES, f"| `{wanted.type}` | [{wanted.type}.md]({wanted.type}.md) |\n"),
    ]
    if wanted.has_url:
        url = f"${{{wanted.logical}FunctionUrl.FunctionUrl}}"
        line = f'              "FUNCTION_URL_{wanted.folder.upper()}": "{url}",\n'
        added.append((TEMPLATE, SETTINGS, line))
    return added


def _indented(name: str, wanted: Wanted) -> str:
    return textwrap.indent(filled(name, wanted), "  ")


def insert(path: str, text: str, place: str, entry: str) -> str:
    """The text with an entry at the end of each such place.

    Raises:
        Misfit: There is none.
    """
    text, count = re.subn(place, lambda found: found[0] + entry, text, flags=re.MULTILINE)
    if not count:
        raise Misfit(f"{path} has no place for a new type: there is nothing like {place!r}")
    return text


def share_connections(text: str, function: str) -> str:
    """Give a function its share in every list of `Mappings.Connections`: of what is free, else of
    the API's and the webhooks' down to two each, else of the function that has most. Operators keep
    theirs.

    Raises:
        Misfit: There are no lists, or every function of one has only one connection.
    """

    def shared(found: re.Match[str]) -> str:
        budget, lines = int(found[1]), found[2]
        shares = {name: int(n) for name, n in re.findall(r"^ +(\w+): (\d+)", lines, re.MULTILINE)}
        share = max(1, budget // PART_OF_BUDGET)
        for _ in range(share - max(0, budget - sum(shares.values()))):
            richest = max(
                (name for name in shares if name != OPERATORS),
                key=lambda name: (name in WITHOUT_PARALLELISM and shares[name] > 2, shares[name]),
            )
            if shares[richest] == 1:
                raise Misfit(
                    f"{TEMPLATE}: of the {budget} connections in Mappings.Connections every "
                    "function has one; there is none for another. Offer a larger MaxConnections "
                    "(docs/connections.md)"
                )
            shares[richest] -= 1
            lines = re.sub(rf"\b{richest}: \d+", f"{richest}: {shares[richest]}", lines)
        lines = re.sub(
            rf"^(?= +{OPERATORS}:)", f"      {function}: {share}\n", lines, flags=re.MULTILINE
        )
        return f'    "{budget}":\n{lines}'

    text, count = re.subn(SHARES, shared, text, flags=re.MULTILINE)
    if not count:
        raise Misfit(f"{TEMPLATE} has no place for a new type: there is no list of Connections")
    return text
