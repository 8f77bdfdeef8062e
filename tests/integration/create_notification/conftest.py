"""The table of the notifications, empty."""

import pytest

from tests.deliveries import Table


@pytest.fixture(autouse=True)
def _empty(table: Table) -> None:
    table.run("TRUNCATE notifications RESTART IDENTITY")
