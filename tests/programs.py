"""Programs that some tests need and that no package of Python's brings along.

Where one is missing its tests are skipped, and the run's last lines say so. In CI they fail.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SBIN = "/usr/sbin"  # where Debian has servers, and an ordinary user's PATH has not


@dataclass(frozen=True)
class Program:
    """One that a machine may lack.

    Attributes:
        names: Under which it may be there; the first is what messages call it.
        install: The command that installs it.
    """

    names: tuple[str, ...]
    install: str

    @property
    def missing(self) -> str:
        """The reason of a skipped test."""
        return f"{self.names[0]} is missing: {self.install}"

    def path(self) -> str:
        """Where it is. Without it the test is skipped, but in CI it fails."""
        where = os.pathsep.join([os.environ.get("PATH", ""), SBIN])
        found = next((path for each in self.names if (path := shutil.which(each, path=where))), "")
        if not found:
            self.skip()
        return found

    def skip(self) -> NoReturn:
        """Skip the test, but fail in CI."""
        if os.environ.get("CI") == "true":
            pytest.fail(self.missing)
        pytest.skip(self.missing)


def _of_debian(name: str, *others: str) -> Program:
    return Program((name, *others), f"apt-get install -y --no-install-recommends {name}")


CHROMIUM = _of_debian("chromium", "chromium-browser")
PGBOUNCER = _of_debian("pgbouncer")
CURL = _of_debian("curl")
OPENSSL = _of_debian("openssl")
GIT = _of_debian("git")
SAM = Program(("SAM's translator",), "make .venv-deploy/.ready")
ALL = (CHROMIUM, PGBOUNCER, CURL, OPENSSL, GIT, SAM)


def need_those_of(script: str) -> None:
    """Skip the test, or fail in CI, where a shell script uses one that is missing."""
    for program in (CURL, OPENSSL):
        if re.search(rf"\b{program.names[0]} ", script):
            program.path()


def costs(reasons: Iterable[str]) -> Iterator[str]:
    """A line for each missing program, made of the reasons of all skipped tests."""
    counted = Counter(reasons)
    for program in ALL:
        number = sum(counted[reason] for reason in counted if program.missing in reason)
        if number:
            tests = "1 test was" if number == 1 else f"{number} tests were"
            why = f"{program.names[0]} is missing, so {tests} skipped"
            yield f"{why}. To run them: {program.install}"
