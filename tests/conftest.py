"""What every test may ask for: a real, migrated Postgres of its own, and settings to reach it.

The databases are those of our own plugin, `stashjobs.testing`, in a server that tests may look at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import pytest_stashjobs as plugin
from stashjobs.testing import databases
from stashjobs.tools.servers.postgres import Postgres
from tests import clusters, programs
from tests.examples import BY_ITSELF, LONG, PROFILE, examples

if TYPE_CHECKING:
    from collections.abc import Iterator

# By default an example that takes 0.2 s fails its test: on a busy machine any may.
for profile in ("patient", LONG):
    hypothesis.settings.register_profile(
        profile,
        max_examples=examples(BY_ITSELF),
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile(PROFILE)

# `make test` runs these tests: another make, run by a test, would believe it is a part of it, say
# so in its output, and take its options.
for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(name, None)

CURRENT_KEY = plugin.SETTINGS["QSTASH_CURRENT_SIGNING_KEY"]
NEXT_KEY = plugin.SETTINGS["QSTASH_NEXT_SIGNING_KEY"]


# Files are given to the workers whole and in this order: one that takes long must not be the last,
# for which the other workers would wait.
LONGEST_FIRST = (
    "browser/test_dashboard_pages.py",
    "browser/test_dashboard.py",
    "docs/test_blocks.py",
    "infra/test_build.py",
    "faults/test_crashes.py",
    "faults/test_outages.py",
    "integration/local/test_dev.py",
    "integration/test_new.py",
    "integration/export_data/test_exporter.py",
    "integration/local/test_stack.py",
    "integration/api/test_schemathesis.py",
    "integration/api/test_jobs.py",
    "integration/api/test_dashboard.py",
    "faults/test_chaos.py",
    "faults/test_dead_letters.py",
    "faults/test_rotation.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first; all others stay in their order."""
    tests = Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last which programs are missing, and what that costs."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(config, "workerinput"):
        skipped = [report.longrepr for report in reporter.stats.get("skipped", ())]
        for line in programs.costs(reason[2] for reason in skipped if isinstance(reason, tuple)):
            reporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _clusters(tmp_path_factory: pytest.TempPathFactory) -> None:
    clusters.keep_in(tmp_path_factory)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for the whole run."""
    data_dir = clusters.make_ready(tmp_path_factory.mktemp("server") / "postgres")
    with Postgres(data_dir, durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def stashjobs_server(postgres: Postgres) -> Iterator[databases.Server]:
    """In place of the plugin's own."""
    with databases.Server(postgres.url) as server:
        yield server


@pytest.fixture(scope="session")
def stashjobs_template(stashjobs_server: databases.Server, postgres: Postgres) -> str:
    """The database that was migrated before its server was copied."""
    return stashjobs_server.create("template", template=postgres.url)


@pytest.fixture
def database_url(stashjobs_database: str) -> str:
    """The URL of a migrated database that is this test's alone."""
    return stashjobs_database


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings of a working system, in the environment; `setenv` changes one. Nothing leads to
    a QStash."""
    for name, value in (plugin.SETTINGS | {"POSTGRES_URL": database_url}).items():
        if name != "QSTASH_TOKEN":
            monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
