"""The package as somebody elsewhere installs it: the wheel, in an environment of its own."""

from __future__ import annotations

import email
import importlib.metadata
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
NAME = "stashjobs"


def build(folder: Path) -> Path:
    """The wheel, made in this folder."""
    options = ["--target", "wheel", "--directory", str(folder)]
    command = [sys.executable, "-m", "hatchling", "build", *options]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    [built] = folder.glob("*.whl")
    return built


def metadata_of(wheel: Path) -> email.message.Message:
    """What it says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith("METADATA")]
        return email.message_from_bytes(archive.read(path))


def python_with(wheel: Path, folder: Path, extra: str | None = None) -> Path:
    """Python with the wheel and, linked from here, what its metadata asks for; nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    tag = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / tag / "site-packages"
    options = ["--quiet", "--offline", "--no-deps", "--python", str(python)]
    subprocess.run([f"{sys.prefix}/bin/uv", "pip", "install", *options, str(wheel)], check=True)
    for name in _closure(wheel, f"{NAME}[{extra}]" if extra else NAME):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(distribution.locate_file(top)))
    return python


def _closure(wheel: Path, wanted: str) -> set[str]:
    """The installed distributions that this asks for, and those that they ask for in turn."""
    own = metadata_of(wheel).get_all("Requires-Dist") or []
    found: set[str] = set()
    waiting = [Requirement(wanted)]
    for each in waiting:  # grows
        found.add(re.sub(r"[-_.]+", "-", each.name).lower())
        asks = own if each.name == NAME else importlib.metadata.requires(each.name) or []
        for inner in map(Requirement, asks):
            asked = [{"extra": extra} for extra in each.extras or {""}]
            if inner.marker is None or any(map(inner.marker.evaluate, asked)):
                waiting.append(inner)
    return found - {NAME}
