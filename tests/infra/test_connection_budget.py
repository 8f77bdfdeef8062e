"""The stack never opens more connections to Postgres than it says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local import template

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
DOCUMENT: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader=template._Loader)  # noqa: S506
BUDGETS: list[str] = DOCUMENT["Parameters"]["MaxConnections"]["AllowedValues"]
SHARES: dict[str, dict[str, int]] = DOCUMENT["Mappings"]["Connections"]
FUNCTIONS = list(template.read_template(TEMPLATE).functions)


def reserved(budget: str) -> dict[str, int | None]:
    """The reserved concurrency of each function, as CloudFormation would compute it."""
    read = template.read_template(TEMPLATE, parameters={"MaxConnections": budget})
    return {name: function.concurrency for name, function in read.functions.items()}


def test_every_budget_that_can_be_chosen_has_its_shares() -> None:
    assert list(SHARES) == BUDGETS
    assert DOCUMENT["Parameters"]["MaxConnections"]["Default"] in BUDGETS


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_shares_fit_into_the_budget(budget: str) -> None:
    assert sum(SHARES[budget].values()) <= int(budget)


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_function_is_held_to_its_own_share(budget: str) -> None:
    """Also one that never talks to Postgres yet: the next change to it may."""
    shares = {function: SHARES[budget][function] for function in FUNCTIONS}
    assert reserved(budget) == shares
    assert min(shares.values()) > 0


@pytest.mark.parametrize("budget", BUDGETS)
def test_something_is_left_for_operators(budget: str) -> None:
    """A stack under full load must not lock out the operator who comes to fix it."""
    assert SHARES[budget]["Operators"] >= 3


def test_a_larger_budget_takes_nothing_away() -> None:
    for smaller, larger in itertools.pairwise(BUDGETS):
        assert SHARES[smaller].keys() == SHARES[larger].keys()
        assert all(SHARES[smaller][name] <= SHARES[larger][name] for name in SHARES[smaller])
