"""Known vulnerabilities in what is deployed: `python -m infra.build.advisories pip-audit`.

pip-audit asks PyPI for the advisories of each pinned package. Where PyPI cannot be reached nothing
is known, which is said, and is no failure: an audit must also run where there is no network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEPLOYED = ("requirements/layer.txt", "requirements/functions/*.txt")
TIMEOUT_SECONDS = 300
# What pip-audit says where the service does not answer.
UNREACHABLE = ("ConnectionError", "Could not connect", "timed out", "Max retries", "NameResolution")


def main(program: str) -> int:
    """1 where a deployed package has an advisory, or pip-audit fails otherwise."""
    files = [file for pattern in DEPLOYED for file in sorted(ROOT.glob(pattern))]
    named = [part for file in files for part in ("--requirement", str(file))]
    command = [program, "--format=json", "--progress-spinner=off", "--no-deps", "--disable-pip"]
    try:
        ended = subprocess.run(
            [*command, *named], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _not_reached(f"no answer within {TIMEOUT_SECONDS} s")
    try:
        found = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        if any(each in ended.stderr for each in UNREACHABLE):
            return _not_reached(ended.stderr.strip().splitlines()[-1])
        sys.stderr.write(ended.stderr)
        return 1
    return _judge(found)


def _judge(found: list[dict[str, Any]]) -> int:
    told = [
        f"{each['name']} {each['version']}: {advisory['id']}, mended in "
        f"{', '.join(advisory['fix_versions']) or 'no version yet'}"
        for each in found
        for advisory in each.get("vulns", [])
    ]
    if found and all("skip_reason" in each for each in found):
        return _not_reached(found[0]["skip_reason"])
    unknown = [f"{each['name']}: {each['skip_reason']}" for each in found if "skip_reason" in each]
    for line in unknown:
        print(f"not looked up: {line}")
    for line in told:
        print(line)
    print(f"{len(found) - len(unknown)} deployed packages, {len(told)} known advisories")
    return 1 if told else 0


def _not_reached(reason: str) -> int:
    print(f"advisories: NOT LOOKED UP, PyPI cannot be reached from here ({reason})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
