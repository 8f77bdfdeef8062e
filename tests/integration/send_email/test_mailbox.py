"""The stand-in for Resend, and its page."""

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local.mailbox import Mailbox

KEY = {"Authorization": "Bearer re_x"}


def body(**changes: Any) -> dict[str, Any]:
    return {
        "from": "Acme <hello@acme.example>",
        "to": ["ada@example.com"],
        "subject": "Hello",
        "html": "<p>Hi</p>",
        "text": "Hi",
        **changes,
    }


class Client:
    """A mailbox and a session that speaks to it."""

    def __init__(self, mailbox: Mailbox, session: aiohttp.ClientSession) -> None:
        self.mailbox = mailbox
        self.session = session

    async def call(
        self, method: str, path: str, json_: Any = None, **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.mailbox.url + path, json=json_, headers={**KEY, **named}
        ) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.text())

    async def send(self, **changes: Any) -> str:
        status, answer = await self.call("POST", "/emails", body(**changes))
        assert status == 200
        return str(answer["id"])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Mailbox() as mailbox, aiohttp.ClientSession() as session:
        yield Client(mailbox, session)


@pytest.mark.parametrize("missing", ["from", "to", "subject"])
async def test_a_required_field_that_is_missing_is_named(client: Client, missing: str) -> None:
    email = body()
    del email[missing]
    assert await client.call("POST", "/emails", email) == (
        422,
        {
            "statusCode": 422,
            "name": "missing_required_field",
            "message": f"Missing `{missing}` field.",
        },
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "hello"},
        {"to": ["ada"]},
        {"cc": "x"},
        {"to": [f"u{i}@example.com" for i in range(51)]},
        {"tags": [{"name": "a b", "value": "c"}]},
        {"html": 7},
    ],
)
async def test_a_field_of_the_wrong_form_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    status, answer = await client.call("POST", "/emails", body(**wrong))
    assert (status, answer["name"]) == (422, "validation_error")


async def test_an_email_needs_a_part(client: Client) -> None:
    status, answer = await client.call("POST", "/emails", body(html=None, text=None))
    assert (status, answer["name"]) == (422, "missing_required_field")


async def test_a_request_without_a_key_is_refused(client: Client) -> None:
    status, answer = await client.call("POST", "/emails", body(), Authorization="")
    assert (status, answer["name"]) == (401, "missing_api_key")


async def test_the_same_key_and_body_give_the_same_id_and_one_email(client: Client) -> None:
    first = await client.call("POST", "/emails", body(), Idempotency_Key="k")
    assert await client.call("POST", "/emails", body(), Idempotency_Key="k") == first
    assert len(client.mailbox.mails) == 1


async def test_the_same_key_and_another_body_are_refused(client: Client) -> None:
    await client.call("POST", "/emails", body(), Idempotency_Key="k")
    status, answer = await client.call("POST", "/emails", body(text="Ho"), Idempotency_Key="k")
    assert (status, answer["name"]) == (409, "invalid_idempotent_request")


async def test_a_refused_email_does_not_use_up_its_key(client: Client) -> None:
    await client.call("POST", "/emails", body(to=["ada"]), Idempotency_Key="k")
    status, _ = await client.call("POST", "/emails", body(), Idempotency_Key="k")
    assert status == 200


@pytest.mark.parametrize(("length", "expected"), [(256, 200), (257, 400)])
async def test_a_key_has_256_characters_at_most(client: Client, length: int, expected: int) -> None:
    status, answer = await client.call("POST", "/emails", body(), Idempotency_Key="k" * length)
    assert status == expected
    assert status == 200 or answer["name"] == "invalid_idempotency_key"


async def test_a_batch_is_taken_whole_or_not_at_all(client: Client) -> None:
    status, _ = await client.call("POST", "/emails/batch", [body(), body(to=["ada"])])
    assert (status, client.mailbox.mails) == (422, [])
    status, answer = await client.call("POST", "/emails/batch", [body(), body()])
    assert (status, len(answer["data"]), len(client.mailbox.mails)) == (200, 2, 2)


async def test_a_permissive_batch_says_which_were_refused(client: Client) -> None:
    status, answer = await client.call(
        "POST", "/emails/batch", [body(to=["ada"]), body()], x_batch_validation="permissive"
    )
    assert (status, len(answer["data"]), answer["errors"][0]["index"]) == (200, 1, 0)


async def test_a_batch_with_the_same_key_is_sent_once(client: Client) -> None:
    first = await client.call("POST", "/emails/batch", [body(), body()], Idempotency_Key="b")
    again = await client.call("POST", "/emails/batch", [body(), body()], Idempotency_Key="b")
    assert (first, len(client.mailbox.mails)) == (again, 2)


@pytest.mark.parametrize(
    ("to", "event"),
    [
        ("delivered@resend.dev", "delivered"),
        ("bounced@resend.dev", "bounced"),
        ("complained+label@resend.dev", "complained"),
        ("bounced@example.com", "delivered"),
    ],
)
async def test_an_email_can_be_read_back_with_its_event(
    client: Client, to: str, event: str
) -> None:
    mail_id = await client.send(to=to)
    status, mail = await client.call("GET", f"/emails/{mail_id}")
    assert (status, mail["to"], mail["last_event"]) == (200, [to], event)


async def test_an_email_that_is_not_there_is_404(client: Client) -> None:
    status, answer = await client.call("GET", "/emails/nothing")
    assert (status, answer["name"]) == (404, "not_found")


async def test_emails_are_listed_the_newest_first_and_in_pages(client: Client) -> None:
    ids = [await client.send() for _ in range(3)]
    _, page = await client.call("GET", "/emails?limit=2")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    _, rest = await client.call("GET", f"/emails?limit=2&after={ids[1]}")
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([ids[0]], False)


async def test_the_senders_domain_is_verified(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEND_FROM_EMAIL", "Acme <hello@mail.acme.example>")
    _, answer = await client.call("GET", "/domains")
    assert [(d["name"], d["status"]) for d in answer["data"]] == [("mail.acme.example", "verified")]


async def test_every_answer_tells_the_rate_limit(client: Client) -> None:
    async with client.session.get(client.mailbox.url + "/emails", headers=KEY) as answer:
        assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= {
            name.lower() for name in answer.headers
        }


async def test_a_rate_limit_that_was_asked_for_is_enforced(client: Client) -> None:
    client.mailbox.rate_limit = 2
    statuses = [(await client.call("POST", "/emails", body()))[0] for _ in range(6)]
    assert statuses[:2] == [200, 200]
    assert 429 in statuses


async def test_the_next_send_fails_once(client: Client) -> None:
    await client.call("POST", "/_local/fail", {"status": 503, "headers": {"Retry-After": "9"}})
    async with client.session.post(
        client.mailbox.url + "/emails", json=body(), headers=KEY
    ) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "9")
    await client.send()


async def test_only_sends_to_the_named_recipient_fail(client: Client) -> None:
    client.mailbox.fail_next(422, to="eve@example.com")
    await client.send()
    status, _ = await client.call("POST", "/emails", body(to="Eve <eve@example.com>"))
    assert status == 422


@pytest.mark.parametrize(
    "wish", [{"status": 200}, {"status": "x"}, {"headers": 3}, [], {"code": 503}]
)
async def test_a_fault_that_makes_no_sense_is_refused(client: Client, wish: Any) -> None:
    status, _ = await client.call("POST", "/_local/fail", wish)
    assert status == 422


async def test_another_web_site_cannot_press_the_buttons(client: Client) -> None:
    await client.send()
    status, _ = await client.call("POST", "/_local/clear", Sec_Fetch_Site="cross-site")
    assert (status, len(client.mailbox.mails)) == (403, 1)


async def test_mails_can_be_looked_up_by_recipient_and_template(client: Client) -> None:
    await client.send(to="a@example.com", tags=[{"name": "template", "value": "welcome"}])
    await client.send(to="b@example.com")
    for query in ("to=a@example.com", "template=welcome"):
        _, answer = await client.call("GET", f"/_local/mails?{query}")
        assert [each["to"] for each in answer["mails"]] == [["a@example.com"]]


async def test_the_list_page_escapes_what_it_shows(client: Client) -> None:
    await client.send(subject="<script>alert(1)</script>")
    _, page = await client.call("GET", "/")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize(("view", "shown"), [("html", "<iframe"), ("text", "Hi"), ("source", "{")])
async def test_the_views_of_an_email(client: Client, view: str, shown: str) -> None:
    mail_id = await client.send()
    status, page = await client.call("GET", f"/mail/{mail_id}?view={view}")
    assert status == 200
    assert shown in page


async def test_an_email_says_when_it_was_sent_and_links_to_its_job(client: Client) -> None:
    client.mailbox.jobs_url = "http://127.0.0.1:8700/admin/jobs"
    mail_id = await client.send(tags=[{"name": "job_id", "value": "job-7"}])
    sent = datetime.fromisoformat(client.mailbox.mails[0].created_at)
    _, page = await client.call("GET", f"/mail/{mail_id}")
    assert f"{sent.day} {sent:%b %Y, %H:%M:%S} UTC" in page
    assert '<a href="http://127.0.0.1:8700/admin/jobs/job-7">job-7</a>' in page


async def test_an_emails_html_cannot_run_anything(client: Client) -> None:
    mail_id = await client.send(html="<script>alert(1)</script>")
    async with client.session.get(f"{client.mailbox.url}/mail/{mail_id}/html") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert await answer.text() == "<script>alert(1)</script>"
    assert "default-src 'none'" in policy
    assert re.search(r"sandbox(?!.*allow-scripts)", policy)
    _, page = await client.call("GET", f"/mail/{mail_id}")
    assert 'sandbox="allow-popups' in page


async def test_the_pages_load_nothing_from_elsewhere(client: Client) -> None:
    mail_id = await client.send()
    for path in ("/", f"/mail/{mail_id}", "/_local/style.css", "/_local/refresh.js"):
        status, page = await client.call("GET", path)
        assert status == 200
        assert not re.search(r"(src|href|url\(|from)\W{0,2}\s*=?\W{0,2}(https?:)?//", page)


async def test_an_email_that_is_gone_has_a_404_page(client: Client) -> None:
    assert (await client.call("GET", "/mail/nothing"))[0] == 404


async def test_a_second_start_finds_the_emails_and_keys_of_the_first(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with Mailbox(state=tmp_path) as first:
            answer = await Client(first, session).call(
                "POST", "/emails", body(), Idempotency_Key="k"
            )
        with (tmp_path / "mails.jsonl").open("a") as file:
            file.write('{"id": "cut o')
        async with Mailbox(state=tmp_path) as second:
            assert [mail.id for mail in second.mails] == [answer[1]["id"]]
            again = await Client(second, session).call(
                "POST", "/emails", body(), Idempotency_Key="k"
            )
            assert (again, len(second.mails)) == (answer, 1)


async def test_the_last_thousand_are_kept(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {
                "id": str(i),
                "created_at": "2026-06-09T00:00:00+00:00",
                "sender": "a@b.co",
                "to": [],
                "subject": "",
            }
        )
        for i in range(1100)
    ]
    (tmp_path / "mails.jsonl").write_text("\n".join(lines) + "\n")
    async with Mailbox(state=tmp_path) as mailbox:
        assert (len(mailbox.mails), mailbox.mails[0].id) == (1000, "1099")


async def test_a_taken_port_is_named() -> None:
    async with Mailbox() as first:
        with pytest.raises(OSError, match=f"port {first.port}"):
            await Mailbox(port=first.port).start()
