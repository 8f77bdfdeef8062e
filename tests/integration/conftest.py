from __future__ import annotations

import io
import json
import logging
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.local.s3 import S3
from stashjobs import files
from stashjobs.observability.log import logger
from stashjobs.producer import qstash_client
from tests.buckets import Bucket
from tests.deliveries import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def table(settings: pytest.MonkeyPatch, database_url: str) -> Iterator[Table]:
    """The table of this test's database; the settings point to it."""
    with closing(Table(database_url)) as opened:
        yield opened


class Log:
    """What the Powertools logger has written."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(scope="session", autouse=True)
def _the_logger_outlives_a_test() -> None:
    """Made within a test, it would write to that test's captured output, which is closed later."""
    logger()


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of this test alone."""
    logger()
    stream = io.StringIO()
    handlers = [
        handler
        for handler in logging.getLogger("stashjobs").handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    assert handlers
    before = [handler.setStream(stream) for handler in handlers]
    yield Log(stream)
    for handler, original in zip(handlers, before, strict=True):
        handler.setStream(original)


@pytest.fixture
def use_qstash(settings: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Point the settings at a QStash: its URL, the token."""

    def use(url: str, token: str = "a-token") -> None:  # noqa: S107
        settings.setenv("QSTASH_URL", url)
        settings.setenv("QSTASH_TOKEN", token)

    yield use
    # The client is kept for the life of the process; a test's QStash is not.
    qstash_client.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """moto's S3, reached over HTTP like the real one, for the whole run."""
    server = S3(REPOSITORY, 0, tmp_path_factory.mktemp("s3") / "s3.log")
    server.serve_now()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3, settings: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket; the settings lead to it."""
    for name, value in s3.environment.items():
        settings.setenv(name, value)
    yield (found := Bucket())
    found.clear()
    files.close()
