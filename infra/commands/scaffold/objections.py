"""What speaks against a type that is asked for."""

from __future__ import annotations

import builtins
import keyword
import re
from typing import TYPE_CHECKING

import yaml

from infra.commands.scaffold.filling import names_in_use
from stashjobs.producer import schedules

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from infra.commands.scaffold.wanted import Wanted

# Lambda's limit for a function's name, less the longest stage (Lambda API, CreateFunction).
MAX_NAME = 64 - len("stashjobs-production-")
# functions/Makefile finds the folder of SendSmsFunction again where a word begins with a letter and
# goes on.
NAME = re.compile(r"[a-z][a-z0-9]+(-[a-z][a-z0-9]+)*")
ENDPOINT = re.compile(r"/api/jobs/[a-z0-9]+(-[a-z0-9]+)*")
# Folders that are passed over: by infra/build/artefact.mk; by pytest (`norecursedirs`) and by ruff
# (`exclude`), as both have it by themselves.
PASSED_OVER = {"test", "tests", "build", "dist", "node_modules", "venv"}
ANOTHER = "put another word in front of it"


def objection(wanted: Wanted) -> str | None:
    """Why there can be no such type: its name, or what does not go together. None where it can."""
    return _about_the_name(wanted) or _about_the_route(wanted) or _about_the_schedule(wanted)


def _about_the_name(wanted: Wanted) -> str | None:
    if not NAME.fullmatch(wanted.type):
        return (
            f"{wanted.type!r} is no name for a job type: use lower case words joined by hyphens, "
            f"each of two characters or more and beginning with a letter ({_respelt(wanted.type)})"
        )
    if len(wanted.type) > MAX_NAME:
        return (
            f"{wanted.type!r} is longer than {MAX_NAME} characters, and Lambda's names end there; "
            "take a shorter one"
        )
    if wanted.folder in PASSED_OVER:
        return f"{wanted.type!r} is a folder that pytest, ruff or the build passes over; {ANOTHER}"
    if wanted.type.startswith("test"):
        return f"{wanted.type!r}: pytest takes what begins with test for one; {ANOTHER}"
    for name in (wanted.type, wanted.logical):
        if yaml.safe_load(name) != name:
            return f"{wanted.type!r}: YAML takes {name} for a value that is no text; {ANOTHER}"
    for name in wanted.python_names:
        if keyword.iskeyword(name) or hasattr(builtins, name):
            return f"{wanted.type!r} would be {name} in Python, a word of Python's own; {ANOTHER}"
        if name in names_in_use():
            return (
                f"{wanted.type!r} would be {name} in Python, which in every job's code is something"
                f" else; {ANOTHER}"
            )
    return None


def _respelt(name: str) -> str:
    """The same words as they should be written, where that is possible; else an example."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return words if NAME.fullmatch(words) else "send-sms"


def _about_the_route(wanted: Wanted) -> str | None:
    if ENDPOINT.fullmatch(wanted.endpoint):
        return None
    return f"--endpoint {wanted.endpoint!r}: a route is /api/jobs/ and words joined by hyphens"


def _about_the_schedule(wanted: Wanted) -> str | None:
    if wanted.schedule is None:
        return None
    if wanted.encrypted:
        return (
            "--encrypted and --schedule do not go together: a schedule's payload passes through "
            "QStash in plain words; have another type's schedule enqueue this one"
        )
    try:
        schedules.check_clock(wanted.schedule, wanted.timezone)
    except ValueError as error:
        return f"--schedule, --timezone: {error}"
    return None


def clash(
    wanted: Wanted, root: Path, *, types: Iterable[str], routes: Iterable[str], names: Iterable[str]
) -> str | None:
    """What of the name is taken already; None where nothing is.

    Args:
        wanted: The new type.
        root: The checkout.
        types: The job types that there are.
        routes: Their paths, and those of all other functions.
        names: The logical ids in the templates.
    """
    for there in types:
        if there == wanted.type:
            return f"there is a job type {there} already"
        if there.replace("-", "") == wanted.type.replace("-", ""):
            return f"there is a job type {there} already, which reads like {wanted.type}"
    if wanted.endpoint in set(routes):
        return f"the route {wanted.endpoint} is taken; give another one with --endpoint"
    for path in (
        f"functions/{wanted.folder}",
        f"functions/{wanted.folder}.py",
        f"tests/integration/{wanted.folder}",
        f"tests/integration/{wanted.folder}.py",
        f"docs/{wanted.type}.md",
    ):
        if found := _at(root / path):
            return f"{found.relative_to(root)} is there already; choose another name"
    own = {
        f"{wanted.logical}{end}"
        for end in ("", "Function", "Logs", "FunctionName", "NewVersionErrors", "IsSlow")
    }
    if found_names := own & set(names):
        return f"the templates have {min(found_names)} already; choose another name"
    return None


def _at(path: Path) -> Path | None:
    """What is there, also in other capitals: some disks take the two for one. A folder that has
    nothing but bytecode is what a type leaves behind that was taken out again."""
    for found in path.parent.iterdir():
        if found.name.lower() == path.name.lower():
            is_left = found.is_dir() and {each.name for each in found.iterdir()} <= {"__pycache__"}
            return None if is_left else found
    return None
