"""The regions of AWS that the templates can be deployed in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.translation import ROOT, translate

if TYPE_CHECKING:
    from types import ModuleType

FUNCTION_URL = {"AWS::Lambda::Url"}


@pytest.fixture(scope="module")
def regions() -> ModuleType:
    """With it comes cfn-lint, which takes seconds in every process that collects tests."""
    from infra.build import regions

    return regions


def test_the_guide_names_the_regions_without_function_urls(regions: ModuleType) -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    [row] = re.findall(r"Lambda has no Function URLs in ([^.]+)\.", page)
    told = set(re.findall(r"`([a-z0-9-]+)`", row))
    assert told == {each for each in regions.REGIONS if regions.lacking(each, FUNCTION_URL)}


def test_a_region_whose_schema_is_the_same_need_not_be_linted(regions: ModuleType) -> None:
    assert regions.differing("eu-central-1", FUNCTION_URL) == []
    assert regions.differing("ca-west-1", FUNCTION_URL) == ["AWS::Lambda::Url"]


def test_what_sam_makes_is_looked_for_too(regions: ModuleType) -> None:
    made = {each["Type"] for each in translate(Stage="production")["Resources"].values()}
    assert made <= regions.types()


@pytest.mark.parametrize("code", [0, 2])
def test_the_audit_fails_where_the_database_cannot_be_made(
    regions: ModuleType, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(regions, "REGIONS", ["eu-central-1"])
    monkeypatch.setattr(regions, "types", lambda: FUNCTION_URL)
    assert regions.main("true" if code == 0 else "false") == (code != 0)
