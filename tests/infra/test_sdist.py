"""The package's sources, as a registry has them beside the wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.translation import ROOT

# hatchling adds these two by itself.
ADDED = {"PKG-INFO", ".gitignore"}


def build(target: str, sources: Path, folder: Path) -> Path:
    options = ["--target", target, "--directory", str(folder)]
    command = [sys.executable, "-m", "hatchling", "build", *options]
    subprocess.run(command, cwd=sources, capture_output=True, check=True)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    (folder / "unpacked").mkdir()
    archive = build("sdist", ROOT, folder / "dist")
    subprocess.run(["tar", "-xzf", archive], cwd=folder / "unpacked", check=True)
    [sources] = (folder / "unpacked").iterdir()
    return sources


def test_there_is_the_package_and_what_a_person_reads_of_it(unpacked: Path) -> None:
    files = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    package = Path("shared/stashjobs")
    beside = {str(file) for file in files if package not in file.parents} - ADDED
    plugin = "shared/pytest_stashjobs.py"
    assert beside == {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", plugin}
    assert (unpacked / package / "tools" / "prices.toml").exists()


def test_what_is_made_of_it_is_the_same_to_the_byte(unpacked: Path, tmp_path: Path) -> None:
    """Another folder, another time, other files beside it: so what a registry has can be made again
    and compared (`SOURCE_DATE_EPOCH`)."""
    for target in ("wheel", "sdist"):
        of_sources, of_checkout = (
            build(target, sources, tmp_path / target / name)
            for name, sources in (("sources", unpacked), ("checkout", ROOT))
        )
        assert of_sources.name == of_checkout.name
        assert of_sources.read_bytes() == of_checkout.read_bytes(), target
