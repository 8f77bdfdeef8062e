"""What the code says to a person when something is wrong, read from its source; what differs from
time to time is `…`, as on the page of messages."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

Node = TypeVar("Node", bound=ast.AST)

FOLDERS = ("shared", "functions", "infra/commands", "infra/local")
HOLE = "…"
FINDINGS = {"red", "yellow"}
"""The doctor's. Their first argument is what was found; the second, what to do, is printed too."""
HELPERS = {"_wrong"}
"""Functions that make an error of what they are given."""
FEWEST_LETTERS = 8
"""With fewer that are always the same there is nothing to search for."""


@dataclass(frozen=True)
class Message:
    """What one line of the source says, by an exception of this `kind` or a finding."""

    file: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}: {self.text}"


@cache
def _all_nodes() -> list[tuple[str, ast.AST]]:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    named = [(str(file.relative_to(ROOT)), file.read_text()) for file in files]
    return [(name, node) for name, text in named for node in ast.walk(ast.parse(text))]


@cache
def messages() -> list[Message]:
    """All that can be told from the source: what is made from a variable is not."""
    kinds = {_called(node.exc) for _, node in _nodes(ast.Raise) if isinstance(node.exc, ast.Call)}
    kinds = {kind for kind in kinds if kind.lstrip("_")[:1].isupper()} | HELPERS | FINDINGS
    found = []
    for file, node in _nodes(ast.Call):
        kind = _called(node)
        if kind in kinds:
            arguments = node.args[:1] if kind in FINDINGS else node.args
            texts = [text for each in arguments for text in _texts(each) if _is_sentence(text)]
            found += [Message(file, node.lineno, kind, text) for text in texts]
    return found


@cache
def all_texts() -> str:
    """Every text in the source, one a line: also those of answers, log lines and triggers."""
    texts = [text for _, node in _nodes(ast.expr) for text in _texts(node)]
    texts += [
        file.read_text().replace("%", HOLE) for file in (ROOT / "shared").rglob("migrations/*.sql")
    ]
    return "\n".join(" ".join(text.split()) for text in texts)


def _nodes(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    for file, node in _all_nodes():
        if isinstance(node, kind):
            yield file, node


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else HOLE for part in parts
            )
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one)
            yield from _texts(other)
        case ast.List(elts=elements):
            for each in elements:
                yield from _texts(each)


def _is_sentence(text: str) -> bool:
    return " " in text.strip() and len(re.sub(r"[^A-Za-z]", "", text)) >= FEWEST_LETTERS


def as_pattern(quoted: str) -> re.Pattern[str]:
    """What a quotation on the page stands for: a part of a message, with anything for each `…`."""
    parts = [re.escape(" ".join(part.split())) for part in quoted.split(HOLE)]
    return re.compile(".*".join(part for part in parts if part))
