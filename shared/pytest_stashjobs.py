"""The pytest plugin: `jobs`, and the fixtures that it is made of (docs/testing.md).

pytest imports this module in every run where it is installed, also of other projects. So it is not
in the package `stashjobs`, which loads psycopg, and imports nothing but pytest before a fixture is
asked for.
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
# For jobs that are encrypted.
PAYLOAD_KEYS = "tests:c2VhbHMgcGF5bG9hZHMgb2YgdGVzdHMgYWxvbmUhISE="
# An account of AWS has no such key. While there is one, boto3 looks for no other: neither in a
# file nor at the machine, which may have a role of its own (boto3 docs, "Credentials").
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "for-tests", "AWS_SECRET_ACCESS_KEY": "for-tests"}
# They would lead elsewhere, as every secret does: to a stage's secret in AWS, its files, its links.
UNSET = (
    "SETTINGS_SECRET",
    "FILES_BUCKET",
    "FILES_LINK_KEY_ID",
    "SMOKE_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
UNSET_PREFIXES = ("FUNCTION_URL_", "OTEL_EXPORTER_", "AWS_CONTAINER_")


@pytest.fixture(scope="session")
def stashjobs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Postgres server: that of `TEST_POSTGRES_URL`, or one that this test process starts from
    the wheel."""
    from stashjobs.testing import databases
    from stashjobs.tools.servers import surroundings
    from stashjobs.tools.servers.postgres import Postgres

    if given := os.environ.get(SERVER_SETTING):
        with databases.Server(given) as server:
            yield server
        return
    with (
        Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as postgres,
        surroundings.kept_away(),
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
    from stashjobs.store import database

    yield _stashjobs_copy.url
    database.close()
    database.close_pool()
    _stashjobs_copy.renew()


@pytest.fixture(scope="session")
def stashjobs_qstash() -> Iterator[QStashServer]:
    """Where messages go: it takes all and delivers none. One for all tests, since making the SDK's
    client takes longer than most of them."""
    from stashjobs.producer import qstash_client
    from stashjobs.testing import qstash

    with qstash.serving() as server:
        yield server
        qstash_client.close()


@pytest.fixture
def stashjobs_settings(
    stashjobs_database: str, stashjobs_qstash: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """The settings of a working system, in the environment until the test ends. What would lead out
    of this machine, or grant access elsewhere, is not set."""
    from stashjobs.observability.redaction import SECRET_SETTINGS
    from stashjobs.tools.servers import surroundings

    prefixed = [name for name in os.environ if name.startswith(UNSET_PREFIXES)]
    for name in [*SECRET_SETTINGS, *UNSET, *prefixed]:
        monkeypatch.delenv(name, raising=False)
    own = {"POSTGRES_URL": stashjobs_database, "QSTASH_URL": stashjobs_qstash.url}
    own |= surroundings.proxy_exceptions(os.environ)
    for name, value in {**SETTINGS, **AWS_KEYS, "PAYLOAD_KEYS": PAYLOAD_KEYS, **own}.items():
        monkeypatch.setenv(name, value)
    stashjobs_qstash.reset()
    yield monkeypatch
    stashjobs_qstash.reset()


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
