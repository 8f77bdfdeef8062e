"""A real Chromium at the dashboard of the whole local system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

from stashjobs.operators import access
from tests.browser import faces
from tests.browser.jobs import Jobs
from tests.programs import CHROMIUM
from tests.stacks import stack_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from infra.local.stack import Stack

# A page asks for news every three seconds; nobody has to wait that long here.
# Asked for in order to see the page that says so; of its status alone Chromium complains.
NOWHERE = "/admin/nowhere"
# Milliseconds that a page may take: a busy machine is no failure.
PATIENCE = 60_000
FASTER = "const wait = setTimeout; window.setTimeout = (work, after) => wait(work, after / 10);"
ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root, and open nothing but their own pages
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser. Where it is missing the tests are skipped, but never in CI.

    Of this module alone: while Playwright is there its event loop is this thread's, and tests of
    other modules have one of their own.
    """
    path = CHROMIUM.path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stack(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The system, in a thread of its own: Playwright's calls wait, and must not stop it."""
    del chromium  # without a browser nothing need be started
    with stack_in_a_thread(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def jobs(stack: Stack) -> Iterator[Jobs]:
    """The rows, of which there are none at first."""
    with psycopg.connect(stack.urls["postgres"], autocommit=True) as connection:
        connection.execute("DELETE FROM job_executions")
        connection.execute("DELETE FROM access_tokens")
        yield Jobs(connection)


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, stack: Stack) -> Any:
    """The cookies of a browser that the administrator has signed in with."""
    with chromium.new_context(base_url=stack.urls["app"]) as context:
        sign_in(context.new_page(), stack.environment["ADMIN_TOKEN"])
        return context.storage_state()


def sign_in(page: Page, token: str) -> None:
    """Fill in the form, and see the overview."""
    page.set_default_timeout(PATIENCE)
    page.goto("/admin/sign-in")
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


@pytest.fixture
def open_page(
    chromium: Browser, stack: Stack, jobs: Jobs, signed_in: Any
) -> Iterator[Callable[..., Page]]:
    """Opens a page of the dashboard in a window of its own, signed in: as the administrator, or
    with a new token of these scopes. Without a script one signs in as well, since there a test may
    sign out. What the browser complains of in its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_one(
        path: str = "/admin",
        *,
        width: int = 1440,
        scheme: str = "light",
        script: bool = True,
        scopes: str = "",
        face: str = "wide",
    ) -> Page:
        context = chromium.new_context(
            base_url=stack.urls["app"],
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=script,
            reduced_motion="reduce",
            storage_state=signed_in if script and not scopes else None,
        )
        context.add_init_script(FASTER)
        context.add_init_script(faces.script(face))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda line: (
                complaints.append(line.text)
                if line.type in {"error", "warning"} and not line.location["url"].endswith(NOWHERE)
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if scopes:
            sign_in(page, access.create_token(jobs.connection, scopes, scopes.split()) or "")
        elif not script:
            sign_in(page, stack.environment["ADMIN_TOKEN"])
        if urlsplit(page.url).path != path:
            page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
