"""One incident from its alert to its end, and everything else that an operator can do, once: on
pages that fit a phone, a tablet and a desk, and in which axe finds nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stashjobs.producer import schedules
from tests.browser.conftest import FASTER, PATIENCE, sign_in
from tests.browser.jobs import PAYLOAD
from tests.browser.test_dashboard_pages import (
    AXE,
    COLOURS_AND_PLACES,
    MISFITS,
    STILL,
    WITHOUT_PICTURES,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from infra.local.stack import Stack
    from tests.browser.jobs import Jobs

WIDTHS = (390, 768, 1440)
TYPE = "/admin/types/create-notification"
WAITS_FOR = """
INSERT INTO job_dependencies (job_id, parent_id, position, required, open)
VALUES (%s, %s, 1, 'completed', true)
"""


def is_policy(text: str) -> bool:
    """Whether the browser has kept a page from something that its own policy forbids."""
    return "Content Security Policy" in text


class Walk:
    """A page, what has been seen to be wrong with it, and where."""

    def __init__(self, page: Page, expect: Any) -> None:
        self.page, self.expect = page, expect
        self.wrong: list[Any] = []

    def go(self, path: str) -> None:
        self.page.goto(path)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def said(self, words: str) -> None:
        """What the form did; a page that is loaded again does not repeat it."""
        self.expect(self.page.locator(".notice")).to_contain_text(words)

    def look(self, *, dark: bool = False) -> None:
        """At the page that is there, without loading it again; in the dark too where it has colours
        of its own."""
        where = self.page.url
        self.page.evaluate(STILL)
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.wrong += [(where, width, *found) for found in self.page.evaluate(MISFITS, width)]
        self.page.evaluate(WITHOUT_PICTURES)
        self.wrong += [(where, "axe", *found) for found in self.page.evaluate(AXE, {})]
        if dark:
            self.page.emulate_media(color_scheme="dark")
            self.wrong += [
                (where, "dark", *found) for found in self.page.evaluate(AXE, COLOURS_AND_PLACES)
            ]
            self.page.emulate_media(color_scheme="light")


def schedule_at_qstash(stack: Stack, name: str) -> None:
    httpx.post(
        f"{stack.urls['qstash']}/v2/schedules/{stack.urls['app']}/api/jobs/notification",
        headers={
            "Authorization": f"Bearer {stack.environment['QSTASH_TOKEN']}",
            "Upstash-Cron": "0 3 * * *",
            "Upstash-Schedule-Id": schedules.prefix(stack.environment["BASE_URL"]) + name,
        },
    ).raise_for_status()


@pytest.fixture
def walk(chromium: Browser, stack: Stack, jobs: Jobs) -> Iterator[Walk]:
    """Of an operator who is signed in. What a script complains of fails the test; that forms are
    refused, and that a session ends, is meant."""
    from axe_playwright_python.base import AXE_FILE_PATH
    from playwright.sync_api import expect

    del jobs  # of which there are none at first
    expect.set_options(timeout=PATIENCE)
    context = chromium.new_context(base_url=stack.urls["app"], reduced_motion="reduce")
    context.add_init_script(FASTER)
    context.add_init_script(path=AXE_FILE_PATH)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: (
            complaints.append(line.text) if "Content Security Policy" in line.text else None
        ),
    )
    sign_in(page, stack.environment["ADMIN_TOKEN"])
    yield Walk(page, expect)
    context.close()
    assert complaints == []


def test_an_incident_is_seen_paused_understood_retried_and_resumed(walk: Walk, jobs: Jobs) -> None:
    """From "failed 30 %" to none failed, without leaving the dashboard."""
    for age in range(7):
        jobs.add(age=60 + age)
    failed = [jobs.add("failed", error="TimeoutError: the other side", age=90) for _ in range(3)]
    page, expect = walk.page, walk.expect
    walk.go("/admin")
    expect(page.locator(".figure-bad")).to_contain_text("30.0 %")
    expect(page.locator(".nav-badge")).to_have_text("1 firing")
    walk.follow("create-notification")
    walk.press("Pause this type")
    walk.said("The type is paused")
    page.reload()
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("#type-state")).to_contain_text("Paused: no new attempt begins.")
    walk.look(dark=True)
    walk.follow("TimeoutError")
    page.locator("tbody .job a").first.click()
    expect(page.locator(".error-box")).to_have_text("TimeoutError: the other side")
    walk.look(dark=True)
    # The fix is deployed: what failed is counted, and then retried.
    page.locator(".crumbs").get_by_role("link", name="create-notification").click()
    walk.press("Retry what failed…")
    expect(page.locator("h1")).to_have_text("Retry 3 jobs?")
    expect(page.locator("main")).to_contain_text("The type is paused: they wait")
    walk.look()
    walk.press("Retry 3 jobs")
    walk.said("3 jobs retried.")
    assert {jobs.status(one) for one in failed} == {"pending"}
    walk.go(TYPE)
    walk.press("Resume this type")
    walk.said("The type is resumed")
    walk.go("/admin/jobs?type=create-notification&status=completed")
    expect(page.locator("tbody tr")).to_have_count(10)
    walk.go("/admin")
    expect(page.locator(".figures")).to_contain_text("3 retried since")
    assert walk.wrong == []


def test_everything_that_an_operator_can_do_to_types_and_waiting_jobs(
    walk: Walk, jobs: Jobs, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", stack.environment["STAGE"])
    page, expect = walk.page, walk.expect
    done = jobs.add()
    running = jobs.add("processing", age=5)
    waits = jobs.add("waiting", delay=5)
    jobs.connection.execute(WAITS_FOR, [waits, running])
    later = [jobs.add("pending", delay=3_600 + number) for number in range(3)]
    bad = jobs.add("pending", delay=7_200, payload={"title": "no type"})

    walk.go("/admin/types")
    walk.press("Pause create-notification")
    walk.said("The type is paused")
    walk.look()
    walk.press("Resume create-notification")
    walk.go(TYPE)
    page.get_by_label("Deliveries, at most").fill("many")
    walk.press("Limit")
    expect(page.get_by_role("alert")).to_contain_text("rate is 'many'")
    page.get_by_label("Deliveries, at most").fill("1000")
    walk.press("Limit")
    walk.said("The limit counts from now on.")
    walk.press("Lift the limit")
    walk.said("The limit is lifted")

    walk.follow("New job")
    page.get_by_label("Payload, as JSON").fill('{"userId": "u_1"}')
    walk.press("Enqueue")
    expect(page.get_by_role("alert")).to_contain_text("title: Field required")
    walk.look(dark=True)
    page.get_by_label("Payload, as JSON").fill(json.dumps(PAYLOAD))
    walk.press("Enqueue")
    walk.said("The job is enqueued.")
    expect(page.locator("h1")).to_contain_text("completed")

    walk.go("/admin/jobs?status=scheduled")
    expect(page.locator("tbody tr")).to_have_count(4)
    walk.look()
    page.locator(f"#pick-{later[0]}").check()
    walk.press("Delete selected…")
    walk.look()
    walk.press("Delete 1 job")
    walk.said("1 job deleted.")
    page.locator(f"#pick-{later[1]}").check()
    walk.press("Run selected now")
    walk.said("1 job due now.")
    walk.go(f"/admin/jobs/{later[1]}")
    expect(page.locator("h1")).to_contain_text("completed")
    walk.go(f"/admin/jobs/{later[2]}")
    expect(page.locator("#next-attempt")).to_contain_text("in ")
    walk.follow("Reschedule")
    page.get_by_label("Due at, UTC").fill("2090-01-31T09:00")
    walk.press("Reschedule")
    walk.said("The job is rescheduled.")
    walk.follow("Edit payload")
    walk.look()
    # The session ends meanwhile: what was entered is kept, and sent again.
    jobs.connection.execute("TRUNCATE dashboard_sessions")
    page.get_by_label("Payload, as JSON").fill(
        '{"userId": "u_2", "type": "a", "title": "b", "message": "c"}'
    )
    with page.expect_response(re.compile("/edit$")):
        walk.press("Save")
    page.get_by_label("Access token").fill(stack.environment["ADMIN_TOKEN"])
    walk.press("Sign in")
    expect(page.get_by_role("heading", name="Send it again?")).to_be_visible()
    walk.look(dark=True)
    walk.press("Send")
    walk.said("The job is changed")
    expect(page.locator("main")).to_contain_text("Payload edited")

    walk.go(f"/admin/jobs/{waits}")
    expect(page.locator(".graph")).to_contain_text("then")
    walk.look()
    walk.go(f"/admin/jobs/{running}")
    walk.press("Cancel")
    walk.said("asked to stop")
    walk.go(f"/admin/jobs/{done}")
    walk.press("Retry")
    expect(page.locator("h1")).to_have_text("Run 1 completed job again?")
    walk.look()
    walk.follow("Back")

    # A payload that does not fit ends as a dead letter at QStash.
    walk.go(f"/admin/jobs/{bad}")
    walk.press("Run now")
    expect(page.locator("h1")).to_contain_text("failed")
    walk.go("/admin/alerts")
    expect(page.locator("#dead-letters")).to_contain_text("1 message")
    walk.look(dark=True)
    walk.press("Delete the dead letters")
    walk.said("1 dead letter deleted at QStash.")

    schedule_at_qstash(stack, "nightly")
    walk.go("/admin/schedules")
    walk.press("Pause nightly")
    walk.said("The schedule is paused.")
    walk.look(dark=True)
    walk.press("Resume nightly")
    walk.said("The schedule runs again.")
    assert walk.wrong == []
