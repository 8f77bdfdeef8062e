"""The import of docs/composition.md, run from end to end as a test of an app would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import stashjobs
from stashjobs import PermanentError
from stashjobs.store import batches, database

if TYPE_CHECKING:
    from stashjobs.testing.jobs import Jobs

GUIDE = Path(__file__).parents[2] / "docs/composition.md"
PARTS = 12


@pytest.fixture(scope="module")
def guide() -> dict[str, Any]:
    """What the guide's last block defines, with fewer parts."""
    source = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[-1]
    assert "PARTS = 1_000" in source
    names: dict[str, Any] = {"Context": stashjobs.Context, "job": stashjobs.job}
    exec(source.replace("1_000", str(PARTS)), names)  # noqa: S102 - a guide of this repository
    return names


def told(jobs: Jobs) -> Any:
    [result] = [row["result"] for row in jobs.rows() if row["job_type"] == "tell-team"]
    return result


def test_an_import_runs_from_end_to_end(jobs: Jobs, guide: dict[str, Any]) -> None:
    guide["import_catalogue"].enqueue({}, user_id="u_1")
    delivered = jobs.drain()
    assert len(delivered) == PARTS + 4
    assert {row["status"] for row in jobs.rows()} == {"completed"}
    assert {row["user_id"] for row in jobs.rows()} == {"u_1"}
    assert told(jobs) == f"{10 * sum(range(PARTS))} rows, 0 parts failed"
    [batch] = batches.newest(database.connection(), limit=2)
    assert (batch.name, batch.done, batch.waiting, batch.on_ended) == (
        "import",
        PARTS,
        0,
        "completed",
    )
    # What waited was published by the delivery that ended the last of its parents.
    assert len(jobs.qstash.messages) == PARTS + 4


def test_parts_that_fail_are_counted(
    jobs: Jobs, guide: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_some(payload: dict[str, Any], _context: Any) -> dict[str, Any]:
        if payload["part"] < 2:
            raise PermanentError("no such part")
        return {"rows": 1}

    monkeypatch.setattr(guide["import_part"], "function", fail_some)
    guide["import_catalogue"].enqueue({})
    jobs.drain()
    assert told(jobs) == f"{PARTS - 2} rows, 2 parts failed"


def test_the_team_is_told_of_an_import_that_cannot_be_collected(
    jobs: Jobs, guide: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_payload: Any, _context: Any) -> None:
        raise PermanentError("no")

    monkeypatch.setattr(guide["collect_import"], "function", fail)
    guide["import_catalogue"].enqueue({})
    jobs.drain()
    assert told(jobs).startswith("the import failed: ParentNotCompleted")


def test_an_import_whose_start_fails_leaves_nothing(jobs: Jobs, guide: dict[str, Any]) -> None:
    started = guide["import_catalogue"].enqueue({})
    jobs.crash(started)
    assert len(jobs.rows()) == 1
    assert batches.newest(database.connection(), limit=2) == []
