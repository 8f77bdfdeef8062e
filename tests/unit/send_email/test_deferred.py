"""Imports that wait until they are needed, tried on modules that nothing else imports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from functions.send_email.deferred import deferred

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy.py").write_text("value = 7\nclass Error(Exception): ...\n")
    (tmp_path / "sdk.py").write_text(
        "import heavy\n"
        "def use():\n"
        "    try: raise heavy.Error\n"
        "    except heavy.Error: return heavy.value\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("heavy", "sdk"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_it_is_not_imported_until_something_of_it_is_used() -> None:
    with deferred("heavy"):
        import sdk  # type: ignore[import-not-found]
    assert "heavy" not in sys.modules
    assert sdk.use() == 7
    assert sys.modules["heavy"].value == 7


def test_after_the_block_it_is_imported_as_ever() -> None:
    with deferred("heavy"):
        import sdk
    import heavy  # type: ignore[import-not-found]

    assert heavy is sys.modules["heavy"]
    assert sdk.use() == heavy.value


def test_within_the_block_it_can_be_used() -> None:
    with deferred("heavy"):
        import sdk

        assert sdk.use() == 7
        assert "heavy" in sys.modules


def test_one_that_is_imported_already_is_left_alone() -> None:
    import heavy

    with deferred("heavy"):
        assert sys.modules["heavy"] is heavy


def test_one_that_does_not_exist_is_missed_when_it_is_used() -> None:
    with deferred("no_such_module"):
        import no_such_module  # type: ignore[import-not-found]
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = no_such_module.value


def test_an_import_that_fails_leaves_no_stand_in() -> None:
    with pytest.raises(ZeroDivisionError), deferred("heavy"):
        1 / 0  # noqa: B018
    assert "heavy" not in sys.modules
