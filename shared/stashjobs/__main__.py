"""`stashjobs`, and `python -m stashjobs`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what it needs where only the package is installed."""
    try:
        from stashjobs.tools.cli import main as command
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "stashjobs":
            raise
        sys.exit(f"The command needs {error.name}: pip install 'stashjobs[cli]'")
    command()


if __name__ == "__main__":
    main()
