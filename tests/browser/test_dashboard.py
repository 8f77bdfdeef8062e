"""An operator at work, in a real browser, with the whole system behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from infra.local.stack import Stack
    from tests.browser.jobs import Jobs


@pytest.fixture
def expect() -> Any:
    """Playwright's, which waits until it is so. Imported here: without a browser nothing is."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    return expect


def test_a_failed_job_is_filtered_out_retried_and_seen_to_complete(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    job_id = jobs.add("failed", error="TimeoutError: the other side was away")
    jobs.add("failed", type="other", error="ValueError: no good")
    page = open_page()
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_label("Error contains").fill("other side")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"error=other\+side"))
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody").get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("failed")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".notice")).to_contain_text("The job is retried")
    # QStash delivers it, the function runs it, and the page says so without being loaded again.
    page.evaluate("window.sameDocument = true")
    expect(page.locator("h1")).to_contain_text("completed")
    assert page.evaluate("window.sameDocument") is True
    assert jobs.status(job_id) == "completed"
    expect(page.locator(".timeline")).to_contain_text("admin: retry")


def test_a_secret_in_a_payload_is_hidden(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    job_id = jobs.add(payload={"userId": "u_1", "token": "abc"})
    page = open_page(f"/admin/jobs/{job_id}")
    expect(page.get_by_text('"token": "[hidden]"')).to_be_visible()


def test_the_payload_is_mended_and_the_job_completes(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    job_id = jobs.add("failed", error="ValueError: no title", payload={"userId": "u_1"})
    page = open_page(f"/admin/jobs/{job_id}")
    page.get_by_role("link", name="Retry with edited payload").click()
    page.get_by_label("Payload, as JSON").fill('{"userId": "u_1"}')
    with page.expect_response(re.compile("/edit$")) as answered:
        page.evaluate("document.querySelector('main form').dataset.sent = 'yes'")
        page.get_by_label("Payload, as JSON").fill(
            '{"userId": "u_1", "type": "news", "title": "Hello", "message": "you"}'
        )
        page.get_by_role("button", name="Retry with this payload").click()
    assert answered.value.status == 303
    expect(page.locator("h1")).to_contain_text("completed")


def test_several_are_selected_and_retried(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    failed = [jobs.add("failed", error="ValueError: no good", type="gone") for _ in range(5)]
    page = open_page("/admin/jobs?status=failed")
    expect(page.locator("tbody tr")).to_have_count(5)
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator("[data-chosen]")).to_have_text("Select jobs first")
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-chosen]")).to_have_text("5 selected")
    page.locator("tbody input").first.uncheck()
    expect(page.locator("[data-chosen]")).to_have_text("4 selected")
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator(".notice")).to_contain_text("4 jobs retried")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert sum(jobs.status(one) == "failed" for one in failed) == 1


def test_all_that_match_are_cancelled_after_a_question(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    waiting = [jobs.add("pending", delay=3_600) for _ in range(3)]
    page = open_page("/admin/jobs?status=pending&period=24h")
    page.get_by_role("button", name="Cancel all that match…").click()
    expect(page.get_by_role("heading", name="Cancel 3 jobs?")).to_be_visible()
    page.get_by_role("button", name="Cancel 3 jobs").click()
    expect(page.locator(".notice")).to_contain_text("3 jobs cancelled")
    assert {jobs.status(one) for one in waiting} == {"cancelled"}


def test_a_waiting_job_is_cancelled(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    job_id = jobs.add("pending", delay=3_600)
    page = open_page(f"/admin/jobs/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_contain_text("cancelled")
    assert jobs.status(job_id) == "cancelled"


def test_the_overview_and_the_list_keep_themselves_up_to_date(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    page = open_page()
    expect(page.locator(".figures")).to_contain_text("0 enqueued")
    jobs.add("failed", error="ValueError: no good")
    expect(page.locator(".figures")).to_contain_text("1 failed")
    page.goto("/admin/jobs")
    box = page.get_by_label(re.compile("^Select create-notification"))
    box.check()
    box.press("Enter")  # which sends nothing
    page.locator("tbody .type").select_text()
    jobs.add("completed", age=1)
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("[data-chosen]")).to_have_text("1 selected"), "the ticks stay"
    expect(page.locator("tbody tr").nth(1).locator("input")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "create-notification"
    lose = "window.answering = fetch; window.fetch = async () => { throw new TypeError() }; 0"
    page.evaluate(lose)
    expect(page.get_by_role("status")).to_contain_text("Not connected since")
    page.evaluate("window.fetch = answering; 0")
    expect(page.get_by_role("status")).to_have_text("Live")
    page.get_by_role("button", name="Pause updating").click()
    jobs.add("completed", age=0.5)
    page.wait_for_timeout(600)  # twice what it waits between two questions here
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Go on updating").click()
    expect(page.locator("tbody tr")).to_have_count(3)


def test_everything_is_reached_by_the_keyboard(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    jobs.add("failed", error="ValueError: no good")
    page = open_page("/admin/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none"
        if page.evaluate("document.activeElement.matches('tbody a')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("create-notification")
    assert {"type", "error", "pick-all", "Filter", "Retry selected"} <= reached


def test_it_works_without_a_script(open_page: Callable[..., Page], jobs: Jobs, expect: Any) -> None:
    job_id = jobs.add("pending", delay=3_600)
    page = open_page("/admin/jobs?status=pending", script=False)
    page.locator(f"#pick-{job_id}").check()
    with page.expect_navigation():
        page.locator(f"#pick-{job_id}").press("Enter")
    expect(page.locator(".notice")).to_have_count(0)
    assert jobs.status(job_id) == "pending", "Enter shows the list again"
    page.locator(f"#pick-{job_id}").check()
    page.get_by_role("button", name="Cancel selected").click()
    expect(page.locator(".notice")).to_contain_text("1 job cancelled")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Access token")).to_be_visible()


def test_a_reader_is_offered_nothing_to_do(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    job_id = jobs.add("failed", error="ValueError: no good")
    page = open_page(scopes="read")
    for path in ("/admin/jobs", f"/admin/jobs/{job_id}"):
        page.goto(path)
        expect(page.get_by_text("(read only)")).to_be_visible()
        expect(page.locator("main form[method=post] button")).to_have_count(0)


def test_on_a_phone_the_filter_folds_away(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    jobs.add("failed", error="ValueError: no good")
    page = open_page("/admin/jobs?type=create-notification", width=390)
    fold = page.get_by_role("button", name="Filter and search 1")
    expect(fold).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_label("Error contains")).to_be_hidden()
    fold.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    page.get_by_label("Error contains").fill("no good")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_label("Error contains")).to_be_hidden()
    page.get_by_role("link", name=re.compile("^error: no good")).click()
    expect(page).to_have_url(re.compile(r"\?type=create-notification$"))
    expect(page.locator("tbody tr")).to_have_count(1)
    without = open_page("/admin/jobs", width=390, script=False)
    expect(without.get_by_label("Error contains")).to_be_visible()


def test_from_the_overview_to_what_is_wrong_with_a_type(
    open_page: Callable[..., Page], jobs: Jobs, expect: Any
) -> None:
    jobs.add("completed", age=120)
    jobs.add("failed", error="TimeoutError: the other side was away")
    page = open_page()
    page.locator("#durations-table summary").click()
    page.get_by_role("link", name="Types").click()
    page.get_by_role("link", name="create-notification").click()
    expect(page.get_by_role("heading", name="create-notification")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text("50.0 %")
    page.evaluate("window.sameDocument = true")
    jobs.add("completed", age=60)
    expect(page.locator(".figures")).to_contain_text("33.3 %")
    assert page.evaluate("window.sameDocument") is True
    page.get_by_role("link", name="TimeoutError").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("the other side was away")


def test_the_system_is_a_local_one(open_page: Callable[..., Page], stack: Stack) -> None:
    page = open_page()
    assert page.url == f"{stack.urls['app']}/admin"
    assert page.locator(".stage").inner_text() == "local"
