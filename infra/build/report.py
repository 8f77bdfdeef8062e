"""Prints how large the layer and each function are: `python -m infra.build.report .aws-sam/build`.

Lambda's limits are for a function together with its layers (AWS docs, "Lambda quotas").
"""

import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

LAYER = "SharedLayer"
LIMIT = 250 * 1024 * 1024  # unzipped, a function and its layers
LAYER_GOAL = 50 * 1024 * 1024  # unzipped


@dataclass(frozen=True)
class Size:
    """What one artefact takes, in bytes."""

    files: int
    unzipped: int
    zipped: int


def measure(folder: Path) -> Size:
    """The size of what would be uploaded."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
    return Size(len(files), unzipped(folder), buffer.getbuffer().nbytes)


def unzipped(folder: Path) -> int:
    """The sum of the sizes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(build: Path) -> int:
    """Print the table; 1 where Lambda would refuse a function."""
    sizes = {path.name: measure(path) for path in sorted(build.iterdir()) if _is_artefact(path)}
    layer = sizes.pop(LAYER)
    print(f"{'':30}{'files':>8}{'unzipped':>12}{'zipped':>12}{'with layer':>14}")
    print(_line(LAYER, layer))
    for name, size in sizes.items():
        print(_line(name, size) + f"{_megabytes(size.unzipped + layer.unzipped):>14}")
    if layer.unzipped > LAYER_GOAL:
        print(f"The layer is over its goal of {_megabytes(LAYER_GOAL)}.")
    too_large = [name for name, size in sizes.items() if size.unzipped + layer.unzipped > LIMIT]
    if too_large:
        print(f"Over Lambda's limit of {_megabytes(LIMIT)}: {', '.join(too_large)}.")
    return 1 if too_large else 0


def _is_artefact(path: Path) -> bool:
    """And not a nested stack."""
    return path.is_dir() and not (path / "template.yaml").exists()


def _line(name: str, size: Size) -> str:
    return f"{name:30}{size.files:>8}{_megabytes(size.unzipped):>12}{_megabytes(size.zipped):>12}"


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MB"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
