"""`make audit` looks up advisories of what is deployed, and says where it could not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from infra.build import advisories
from tests import scripts

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """import sys
open({told!r}, "w").write(" ".join(sys.argv[1:]))
sys.stdout.write({out!r})
sys.stderr.write({err!r})
sys.exit({code})
"""


def pip_audit(folder: Path, *, out: str = "", err: str = "", code: int = 0) -> str:
    """A program in its place; the real one's answers are PyPI's of the day."""
    program = folder / "pip-audit"
    told = str(folder / "told")
    scripts.write_python(program, PROGRAM.format(told=told, out=out, err=err, code=code))
    return str(program)


CLEAN = {"name": "httpx", "version": "0.28.1", "vulns": []}
BAD = {
    "name": "h11",
    "version": "0.16.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["0.16.1"]}],
}


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        ([CLEAN], 0, "1 deployed packages, 0 known advisories"),
        ([CLEAN, BAD], 1, "h11 0.16.0: PYSEC-2026-1, mended in 0.16.1"),
        ([CLEAN, {"name": "tzdata", "skip_reason": "gone"}], 0, "not looked up: tzdata: gone"),
        ([{"name": "tzdata", "skip_reason": "not on PyPI"}], 0, "advisories: NOT LOOKED UP"),
    ],
)
def test_an_advisory_fails_the_audit(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    found: list[dict[str, object]],
    code: int,
    words: str,
) -> None:
    program = pip_audit(tmp_path, out=json.dumps({"dependencies": found}), code=code)
    assert advisories.main(program) == code
    assert words in capsys.readouterr().out
    told = (tmp_path / "told").read_text()
    assert "requirements/layer.txt" in told
    assert "requirements/functions/send_email.txt" in told


def test_where_advisories_cannot_be_reached_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = pip_audit(tmp_path, err="ERROR: ConnectionError: Max retries exceeded", code=1)
    assert advisories.main(program) == 0
    assert "NOT LOOKED UP" in capsys.readouterr().out


def test_any_other_failure_is_one(tmp_path: Path) -> None:
    assert advisories.main(pip_audit(tmp_path, err="wrong options", code=2)) == 1
