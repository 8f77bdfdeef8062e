"""The pages of the web frameworks: their code runs as it stands, in one process with a database."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from functions.create_notification.handler import create_notification
from stashjobs.store import database
from tests.docs.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs.testing import Jobs

ORDERS = "CREATE TABLE orders (number int GENERATED ALWAYS AS IDENTITY, user_id text)"


@pytest.fixture
def page(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Runs a page's Python, beside an empty database; what it defines is the result."""
    del jobs

    def run(name: str) -> Any:
        module = ModuleType(f"page_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        source = "\n".join(each.text for each in blocks("python") if each.page == f"docs/{name}.md")
        exec(compile(source, f"docs/{name}.md", "exec"), module.__dict__)  # noqa: S102 - a guide
        return module

    yield run
    database.close()


@pytest.fixture
def orders(jobs: Jobs) -> Iterator[None]:
    with psycopg.connect(jobs.database_url) as connection:
        connection.execute(ORDERS)
    yield
    database.close_pool()


def told(jobs: Jobs, user_id: str, times: int = 1, **payload: str) -> None:
    """So many jobs of this user were recorded, and published after the commit."""
    found = jobs.assert_enqueued(create_notification, payload, user_id=user_id, times=times)
    assert all(each["published_at"] is not None for each in found)


def test_django(jobs: Jobs, page: Callable[[str], Any]) -> None:
    import django
    from django.conf import settings
    from django.db import connection, transaction

    asked = conninfo_to_dict(jobs.database_url)
    names = {
        "NAME": "dbname",
        "USER": "user",
        "PASSWORD": "password",
        "HOST": "host",
        "PORT": "port",
    }
    own = {name: asked.get(libpq, "") for name, libpq in names.items()}
    default = {"ENGINE": "django.db.backends.postgresql", **own}
    settings.configure(
        DATABASES={"default": default}, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
    )
    django.setup()
    try:
        shop = page("django")
        with connection.schema_editor() as editor:
            editor.create_model(shop.Order)

        shop.checkout("u_1")
        told(jobs, "u_1", message="It is paid.")

        shop.Order.objects.get(user_id="u_1").delete()  # the signal's
        told(jobs, "u_1", message="It is cancelled.")

        shop.checkout_quietly("u_2")
        told(jobs, "u_2", message="Thank you.")

        with transaction.atomic():
            shop.checkout("u_3")
            transaction.set_rollback(True)
        told(jobs, "u_3", times=0)
    finally:
        connection.close()


def test_sqlalchemy(jobs: Jobs, page: Callable[[str], Any]) -> None:
    shop = page("sqlalchemy")
    try:
        told(jobs, "u_1")

        with shop.Session(shop.engine) as session, session.begin():
            session.add(shop.Order(user_id="u_4"))
        [of_the_event] = jobs.assert_enqueued(create_notification, user_id="u_4")
        assert of_the_event["published_at"] is None  # the relay's

        with shop.Session(shop.engine) as session:
            session.add(shop.Order(user_id="u_3"))
            session.flush()
            session.rollback()
        jobs.assert_not_enqueued(create_notification, user_id="u_3")

        shop.event.remove(shop.Order, "after_insert", shop.order_made)

        async def checkout() -> None:
            await shop.checkout()
            await asyncio.to_thread(database.close)  # that of the thread that published

        asyncio.run(checkout())
        told(jobs, "u_2")
    finally:
        shop.engine.dispose()


@pytest.mark.usefixtures("orders")
def test_fastapi(jobs: Jobs, page: Callable[[str], Any]) -> None:
    from fastapi.testclient import TestClient

    with TestClient(page("fastapi").app) as client:
        answer = client.post("/orders?user_id=u_1")
        assert answer.status_code == 202
        assert client.post("/refunds?user_id=u_2").status_code == 202
    told(jobs, "u_1", title="Paid")
    told(jobs, "u_2", title="Refund")


@pytest.mark.usefixtures("orders")
def test_flask(jobs: Jobs, page: Callable[[str], Any]) -> None:
    answer = page("flask").app.test_client().post("/orders", data={"user_id": "u_1"})
    assert answer.status_code == 202
    [job] = jobs.assert_enqueued(create_notification, user_id="u_1")
    assert answer.json == {"jobId": job["job_id"]}
    told(jobs, "u_1", title="Paid")
