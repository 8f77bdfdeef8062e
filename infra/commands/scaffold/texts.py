"""A YAML text that is changed by inserting lines, so that its comments and its form stay."""

from __future__ import annotations

import re
import textwrap

from stashjobs.errors import StashjobsError


class Misfit(StashjobsError):
    """A file does not look as expected. The message names it, and what was looked for."""


# A line with a key: what leads to the value, the value, and the comment behind it.
LINE = re.compile(r"""(\s*["']?[^\s"'#:]+["']?:\s*)("[^"]*"|'[^']*'|(?!#).*?)(\s+#.*|\s*)""")


class YamlText:
    """Block YAML, indented by spaces. A place in it is the path of keys that leads there."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines = text.splitlines()

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def keys(self, *path: str) -> list[str]:
        """What stands directly below a place, in the order of the text."""
        start, end, indent = self._inside(path)
        key = re.compile(rf"""{" " * indent}["']?([^\s"'#:]+)["']?:""")
        return [match[1] for line in self._lines[start:end] if (match := key.match(line))]

    def values(self, *path: str) -> dict[str, str]:
        """The keys below a place, and the text behind the colon of each, without a comment."""
        return {key: self._parts(*path, key)[1] for key in self.keys(*path)}

    def last_of(self, keys: list[str], *path: str) -> str:
        """Which of these keys comes last below a place."""
        found = [key for key in self.keys(*path) if key in keys]
        if not found:
            raise Misfit(f"{self.name}: {'.'.join(path)} has none of {', '.join(keys)}")
        return found[-1]

    def set(self, value: object, *path: str) -> None:
        """Replace a value that stands on the line of its key. A comment behind it stays."""
        at, _ = self._span(path)
        before, _, comment = self._parts(*path)
        self._lines[at] = f"{before}{value}{comment}"

    def add_after(self, block: str, *path: str, apart: bool = False) -> None:
        """Insert a block behind the one at a place, indented like it; `apart` by an empty line."""
        at, end = self._span(path)
        self._insert(end, block, _indent_of(self._lines[at]), apart=apart)

    def add_before(self, block: str, *path: str) -> None:
        """Insert a block in front of the one at a place."""
        at, _ = self._span(path)
        self._insert(at, block, _indent_of(self._lines[at]))

    def add_line_before(self, beginning: str, line: str, *path: str) -> None:
        """Insert a line below a place, in front of the one that begins so, indented like it."""
        start, end = self._span(path)
        for at in range(start, end):
            if self._lines[at].lstrip().startswith(beginning):
                self._insert(at, line, _indent_of(self._lines[at]))
                return
        raise Misfit(f"{self.name}: {'.'.join(path)} has no line that begins with {beginning}")

    def append(self, block: str, *path: str) -> None:
        """Insert a block as the last one below a place."""
        _, end, indent = self._inside(path)
        self._insert(end, block, indent)

    def _parts(self, *path: str) -> tuple[str, str, str]:
        """Of the line of a key: what leads to the value, the value, the comment behind it."""
        line = self._lines[self._span(path)[0]]
        found = LINE.fullmatch(line)
        if found is None:
            raise Misfit(f"{self.name}: the line of {'.'.join(path)} cannot be read")
        return found[1], found[2], found[3]

    def _insert(self, at: int, block: str, indent: int, *, apart: bool = False) -> None:
        lines = textwrap.indent(block.rstrip("\n"), " " * indent).splitlines()
        self._lines[at:at] = ["", *lines] if apart else lines

    def _inside(self, path: tuple[str, ...]) -> tuple[int, int, int]:
        """Where what stands below a place begins and ends, and how far it is indented."""
        if not path:
            return 0, len(self._lines), 0
        at, end = self._span(path)
        inner = [line for line in self._lines[at + 1 : end] if _says_something(line)]
        if not inner:
            raise Misfit(f"{self.name}: there is nothing below {'.'.join(path)}")
        return at + 1, end, _indent_of(inner[0])

    def _span(self, path: tuple[str, ...]) -> tuple[int, int]:
        """The line of a key, and the one behind the last that belongs to it. A comment belongs to
        what follows."""
        start, end, indent = self._inside(path[:-1])
        key = re.compile(rf"""{" " * indent}["']?{re.escape(path[-1])}["']?:(\s|$)""")
        at = next((i for i in range(start, end) if key.match(self._lines[i])), None)
        if at is None:
            raise Misfit(f"{self.name}: there is no {'.'.join(path)}")
        last = at
        for index in range(at + 1, end):
            line = self._lines[index]
            if line.strip() and _indent_of(line) <= indent:
                break
            if _says_something(line):
                last = index
        return at, last + 1


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())
