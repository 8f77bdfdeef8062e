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
LISTS_TYPES = (TEMPLATE, ALARMS, DASHBOARD, OVERVIEW)


def own(what: str) -> str:
    """The place of a team's own lines, as far as a new one: upstream changes nothing in it, so that
    taking a later version makes no conflict (docs/upgrading.md)."""
    begin, end = (rf"^ *# --- {what} of your own, {where} here.*\n" for where in ("from", "to"))
    return rf"{begin}(?:.*\n)*?(?={end})"


# Between the empty lines: JSON has no comments.
SETTINGS = r"^\n(?: *\"FUNCTION_URL_\w+\": .*\n)*(?=\n +\"\w+\": )"
TYPES = r"^\| type of your own \| page \|\n(?:\|.*\n)+"
LISTS = r'^    "(\d+)":\n((?:      .*\n)+)'
SHARE = r"^ +(\w+): (\d+)"

# A new type begins with a fortieth of the connections; raise it once its load is known.
PART_OF_BUDGET = 40
OPERATORS = "Operators"
# They declare no parallelism that their share must cover.
WITHOUT_PARALLELISM = {"ApiFunction", "WebhooksFunction"}


def entries(wanted: Wanted) -> list[tuple[str, str, str]]:
    """Each a file, a place in it as a pattern, and the text that is to stand at its end."""
    added = [
        (TEMPLATE, own("functions"), _indented("function.yaml", wanted) + "\n"),
        (TEMPLATE, own("outputs"), _indented("output.yaml", wanted)),
        (ALARMS, own("alarms"), _indented("alarms.yaml", wanted) + "\n"),
        (DASHBOARD, own("log groups"), _log_group(wanted.type)),
        (OVERVIEW, TYPES, f"| `{wanted.type}` | [{wanted.type}.md]({wanted.type}.md) |\n"),
    ]
    if wanted.has_url:
        url = f"${{{wanted.logical}FunctionUrl.FunctionUrl}}"
        line = f'              "FUNCTION_URL_{wanted.folder.upper()}": "{url}",\n'
        added.append((TEMPLATE, SETTINGS, line))
    return added


def _log_group(job_type: str) -> str:
    return f"""{" " * 16}- !Sub "SOURCE '/stashjobs/${{Stage}}/{job_type}' | "\n"""


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


def share_connections(text: str, function: str, at_once: int = 1) -> str:
    """Give a function its share in every list of `Mappings.Connections`: of what is free, else of
    the API's and the webhooks' down to two each, else of the function that has most. Operators keep
    theirs. A comment says whose they were, so that they can be given back.

    Args:
        text: The template's.
        function: Its logical id.
        at_once: How many of it are to run at once, at least.

    Raises:
        Misfit: There are no lists, or every function of one has only one connection.
    """

    def shared(found: re.Match[str]) -> str:
        budget, lines = int(found[1]), found[2]
        shares = {name: int(n) for name, n in re.findall(SHARE, lines, re.MULTILINE)}
        share = max(at_once, budget // PART_OF_BUDGET)
        givers = []
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
            givers.append(richest)
            lines = re.sub(rf"\b{richest}: \d+", f"{richest}: {shares[richest]}", lines)
        of = f"  # of {', '.join(givers)}" if givers else ""
        line = f"      {function}: {share}{of}\n"
        return f'    "{budget}":\n{insert(TEMPLATE, lines, own("shares"), line)}'

    text, count = re.subn(LISTS, shared, text, flags=re.MULTILINE)
    if not count:
        raise Misfit(f"{TEMPLATE} has no place for a new type: there is no list of Connections")
    return text


def give_back_connections(text: str, function: str) -> str:
    """Take a function's share out of every list, and give what it had of others back to them."""

    def without(found: re.Match[str]) -> str:
        lines = found[2]
        line = re.search(rf"^ +{function}: \d+(?:  # of (.*))?\n", lines, re.MULTILINE)
        if line is None:
            return found[0]
        lines = lines.replace(line[0], "", 1)
        for giver in line[1].split(", ") if line[1] else []:
            share = re.search(rf"(?<=\b{giver}: )\d+", lines)
            if share is not None:
                lines = f"{lines[: share.start()]}{int(share[0]) + 1}{lines[share.end() :]}"
        return f'    "{found[1]}":\n{lines}'

    return re.sub(LISTS, without, text, flags=re.MULTILINE)


def without(texts: dict[str, str], wanted: Wanted) -> dict[str, str]:
    """The texts, by their paths, without any entry of a type, however it was changed meanwhile."""
    name = wanted.logical
    ends = ("Function", "NewVersionErrors", "Logs", "FunctionName")
    blocks = {TEMPLATE: [name + end for end in ends], ALARMS: [f"{name}IsSlow", name]}
    lines = {
        TEMPLATE: rf'^ *"FUNCTION_URL_{wanted.folder.upper()}": .*\n',
        ALARMS: "$^",
        DASHBOARD: rf"^{re.escape(_log_group(wanted.type))}",
        OVERVIEW: rf"^\| `{wanted.type}` \|.*\n",
    }
    after = {}
    for path, text in texts.items():
        # A block is its comment, its own line and the lines further in.
        patterns = [
            rf"(?:^  # (?!---).*\n)*^  {block}:\n(?:^(?:    .*)?\n)*"
            for block in blocks.get(path, [])
        ]
        after[path] = re.sub("|".join([*patterns, lines[path]]), "", text, flags=re.MULTILINE)
    after[TEMPLATE] = give_back_connections(after[TEMPLATE], f"{name}Function")
    return after
