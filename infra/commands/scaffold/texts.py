"""A YAML text that is changed by inserting lines, so that its comments and its form stay.

PyYAML says where things are. ruamel.yaml, which writes a text anew, breaks lines of the template
elsewhere and loses comments between its blocks.
"""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from stashjobs.errors import StashjobsError

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Misfit(StashjobsError):
    """A file does not look as expected. The message names it, and what was looked for."""


class YamlText:
    """Block YAML. A place in it is the path of keys that leads there."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def keys(self, *path: str) -> list[str]:
        """What stands directly below a place, in the order of the text."""
        return [key.value for key, _ in self._below(path)]

    def values(self, *path: str) -> dict[str, str]:
        """The keys below a place, and the text of each one's value, without a comment."""
        return {
            key.value: self.text[value.start_mark.index : value.end_mark.index].strip()
            for key, value in self._below(path)
        }

    def last_of(self, keys: list[str], *path: str) -> str:
        """Which of these keys comes last below a place."""
        found = [key for key in self.keys(*path) if key in keys]
        if not found:
            raise Misfit(f"{self.name}: {'.'.join(path)} has none of {', '.join(keys)}")
        return found[-1]

    def set(self, value: object, *path: str) -> None:
        """Replace the value at a place. A comment behind it stays."""
        _, old = self._at(path)
        start, end = old.start_mark.index, old.end_mark.index
        self.text = f"{self.text[:start]}{value}{self.text[end:]}"

    def add_after(self, block: str, *path: str, apart: bool = False) -> None:
        """Insert a block behind the one at a place, indented like it; `apart` by an empty line."""
        key, value = self._at(path)
        lines = self.text.splitlines()
        # A block ends, for PyYAML, where the next one begins; what stands on one line ends there.
        on_a_line = value.end_mark.column > 0 and getattr(value, "flow_style", True)
        end = value.end_mark.line + on_a_line
        while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#"):
            end -= 1  # a comment belongs to what follows
        self._insert(end, "\n" * apart + textwrap.indent(block, " " * key.start_mark.column))

    def add_before(self, block: str, *path: str) -> None:
        """Insert a block in front of the one at a place."""
        key, _ = self._at(path)
        self._insert(key.start_mark.line, textwrap.indent(block, " " * key.start_mark.column))

    def _insert(self, at: int, block: str) -> None:
        lines = self.text.splitlines()
        lines[at:at] = block.rstrip("\n").split("\n")
        self.text = "\n".join(lines) + "\n"

    def _at(self, path: tuple[str, ...]) -> tuple[Any, Any]:
        for key, value in self._below(path[:-1]):
            if key.value == path[-1]:
                return key, value
        raise Misfit(f"{self.name}: there is no {'.'.join(path)}")

    def _below(self, path: tuple[str, ...]) -> list[tuple[Any, Any]]:
        """The keys and values directly below a place, as PyYAML's nodes."""
        if path:
            _, node = self._at(path)
        else:
            try:
                node = yaml.compose(self.text, Loader=LOADER)
            except yaml.YAMLError as error:
                raise Misfit(
                    f"{self.name} cannot be read: {' '.join(str(error).split())}"
                ) from error
        if not isinstance(node, yaml.MappingNode) or not node.value:
            raise Misfit(f"{self.name}: there is nothing below {'.'.join(path)}")
        return list(node.value)
