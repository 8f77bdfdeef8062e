"""The pytest plugin: `jobs`, and the fixtures that it is made of (docs/testing.md).

pytest imports this module in every run, so it imports nothing that costs time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.testing.databases import CopyOfTemplate, Server
    from stashjobs.testing.jobs import Jobs
    from stashjobs.testing.qstash import Server as QStashServer

# Not POSTGRES_URL: in a developer's shell that may be the URL of a real database.
SERVER_SETTING = "TEST_POSTGRES_URL"
SETTINGS = {
    "STAGE": "local",
    "BASE_URL": "https://jobs.example.test",
    "QSTASH_TOKEN": "a-token-for-tests",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_current_0123456789abcdefghijklmnop",
    "QSTASH_NEXT_SIGNING_KEY": "sig_next_0123456789abcdefghijklmnopqrst",
}
# They would lead elsewhere: to the secret of a stage in AWS, to a read replica.
UNSET = ("SETTINGS_SECRET", "POSTGRES_READ_URL")


@pytest.fixture(scope="session")
def stashjobs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Postgres server: that of `TEST_POSTGRES_URL`, or one that this test process starts from
    the wheel."""
    from stashjobs.servers.postgres import Postgres
    from stashjobs.testing import databases

    if given := os.environ.get(SERVER_SETTING):
        with databases.Server(given) as server:
            yield server
        return
    with (
        Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as postgres,
        databases.Server(postgres.url) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def stashjobs_template(stashjobs_server: Server) -> str:
    """The URL of the database that every test's own is a copy of. Override it to add your tables:

    @pytest.fixture(scope="session")
    def stashjobs_template(stashjobs_template):
        with psycopg.connect(stashjobs_template) as connection:
            connection.execute(Path("schema.sql").read_text())
        return stashjobs_template
    """
    from stashjobs.testing import databases

    return databases.migrated(stashjobs_server)


@pytest.fixture(scope="session")
def _stashjobs_copy(stashjobs_server: Server, stashjobs_template: str) -> Iterator[CopyOfTemplate]:
    from stashjobs.testing.databases import CopyOfTemplate

    copy = CopyOfTemplate(stashjobs_server, stashjobs_template, "copy")
    yield copy
    copy.close()


@pytest.fixture
def stashjobs_database(_stashjobs_copy: CopyOfTemplate) -> Iterator[str]:
    """The URL of a database that is this test's alone, as the template is."""
    from stashjobs import database

    yield _stashjobs_copy.url
    database.close()
    database.close_pool()
    _stashjobs_copy.renew()


@pytest.fixture(scope="session")
def stashjobs_qstash() -> Iterator[QStashServer]:
    """Where messages go: it takes all and delivers none. One for all tests, since making the SDK's
    client takes longer than most of them."""
    from stashjobs import dispatcher
    from stashjobs.testing import qstash

    with qstash.serving() as server:
        yield server
        dispatcher.close()


@pytest.fixture
def stashjobs_settings(
    stashjobs_database: str, stashjobs_qstash: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """The settings of a working system, in the environment until the test ends. Nothing in there
    leads out of this machine."""
    for name in [*UNSET, *(each for each in os.environ if each.startswith("FUNCTION_URL_"))]:
        monkeypatch.delenv(name, raising=False)
    own = {"POSTGRES_URL": stashjobs_database, "QSTASH_URL": stashjobs_qstash.url}
    for name, value in {**SETTINGS, **own}.items():
        monkeypatch.setenv(name, value)
    stashjobs_qstash.received.clear()
    return monkeypatch


@pytest.fixture
def jobs(
    stashjobs_settings: pytest.MonkeyPatch,
    stashjobs_database: str,
    stashjobs_qstash: QStashServer,
) -> Iterator[Jobs]:
    """The jobs of this test: what was enqueued, and QStash's part in it (`stashjobs.testing`)."""
    del stashjobs_settings
    from stashjobs.testing.jobs import Jobs

    made = Jobs(stashjobs_database, stashjobs_qstash)
    yield made
    made.close()
