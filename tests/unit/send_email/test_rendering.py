"""Every template, as HTML and as text."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from functions.send_email.models import TEMPLATES, Email
from functions.send_email.rendering import TEMPLATE_DIR, Brand, Rendered, render

BRAND = Brand("Acme", "https://acme.example", "help@acme.example")
VOID = {"meta", "img", "br", "link", "hr"}


def example(name: str, /, **changes: Any) -> dict[str, Any]:
    data = {**TEMPLATES[name].example(), **changes}
    return {"to": "ada@example.com", "template": name, "data": data}


def rendered(name: str, brand: Brand = BRAND, /, **changes: Any) -> Rendered:
    return render(Email.model_validate(example(name, **changes)), brand)


def required_only(name: str) -> dict[str, Any]:
    model = TEMPLATES[name]
    needed = {f.alias for f in model.model_fields.values() if f.is_required()}
    data = {k: v for k, v in example(name)["data"].items() if k in needed}
    return {"to": "ada@example.com", "template": name, "data": data}


class Outline(HTMLParser):
    """Tags in balance, and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.tags if each == tag]


every_template = pytest.mark.parametrize("name", TEMPLATES)


def test_each_template_has_its_two_files_and_there_are_no_others() -> None:
    expected = {f"{name}.{kind}" for name in TEMPLATES for kind in ("html", "txt")}
    assert {file.name for file in TEMPLATE_DIR.iterdir() if file.name[0] != "_"} == expected


@every_template
def test_it_has_a_subject_and_both_parts(name: str) -> None:
    email = rendered(name)
    assert email.subject
    assert "<h1" in email.html
    assert len(email.text) > 100
    assert "<" not in email.text


@every_template
def test_nothing_is_left_unresolved(name: str) -> None:
    email = rendered(name)
    for part in (email.subject, email.html, email.text):
        assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#|\bNone\b|Undefined", part)


@every_template
def test_it_renders_with_the_required_fields_alone(name: str) -> None:
    email = render(Email.model_validate(required_only(name)), Brand("Acme"))
    for part in (email.subject, email.html, email.text):
        assert "None" not in part


@every_template
def test_a_script_in_any_text_is_shown_and_not_run(name: str) -> None:
    attack = "<script>alert('x')</script>"
    data = example(name)["data"]
    texts = {
        key: attack
        for key, value in data.items()
        if isinstance(value, str)
        and not re.search(r"Url$|At$|mail$|currency|interval|Last4", key, re.IGNORECASE)
    }
    assert texts
    email = rendered(name, Brand(attack), **texts)
    assert "<script" not in email.html.lower()
    assert "&lt;script&gt;" in email.html
    assert attack in email.text


@every_template
def test_the_text_is_not_escaped_as_html_is(name: str) -> None:
    key = {"teamInvitation": "inviterName", "fileReady": "title"}.get(name, "name")
    email = rendered(name, BRAND, **{key: "O'Hara & Söhne"})
    assert "O'Hara & Söhne" in email.text
    assert "O&#39;Hara &amp; Söhne" in email.html


@every_template
def test_the_button_link_is_there_again_as_plain_text(name: str) -> None:
    link = next(v for k, v in example(name)["data"].items() if k.endswith("Url"))
    email = rendered(name)
    assert email.html.count(f'href="{link}"') == 2
    assert f">{link}</a>" in email.html
    assert link in email.text.splitlines()


@every_template
def test_the_html_is_well_formed_and_accessible(name: str) -> None:
    outline = Outline(rendered(name, Brand("Acme", logo_url="https://acme.example/l.png")).html)
    assert outline.all("html")[0]["lang"] == "en"
    assert [each["alt"] for each in outline.all("img")] == ["Acme"]
    assert len(outline.all("h1")) == 1
    facts = [each for each in outline.all("table") if each.get("role") != "presentation"]
    assert bool(outline.all("th")) == bool(facts)
    assert all(each["scope"] == "row" for each in outline.all("th"))


@every_template
def test_it_follows_a_dark_mail_client(name: str) -> None:
    html = rendered(name).html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "prefers-color-scheme: dark" in html


@every_template
def test_it_is_small_enough_not_to_be_clipped_by_gmail(name: str) -> None:
    assert len(rendered(name).html.encode()) < 60_000


@every_template
def test_it_loads_nothing_from_elsewhere(name: str) -> None:
    html = rendered(name).html
    assert not re.search(r"<(script|link|iframe|form|img)\b|@import|url\(", html)


@every_template
def test_the_preheader_is_the_first_text(name: str) -> None:
    body = rendered(name).html.partition("<body")[2]
    preheader = re.search(r'<div style="display:none[^>]*>([^&<]+)', body)
    assert preheader
    assert len(preheader[1].strip()) > 10


@every_template
def test_the_same_email_is_rendered_to_the_same_bytes(name: str) -> None:
    assert rendered(name) == rendered(name)


def test_a_given_subject_takes_the_place_of_the_usual_one() -> None:
    email = Email.model_validate({**example("welcome"), "subject": "Hi {{ data.name }}"})
    assert render(email, BRAND).subject == "Hi {{ data.name }}"


def test_a_subject_is_not_escaped() -> None:
    assert rendered("teamInvitation", teamName="R&D").subject == "Grace Hopper invited you to R&D"


def test_yen_have_no_decimals_in_subject_and_body() -> None:
    email = rendered("paymentFailed", amount=1500, currency="jpy")
    assert email.subject == "Your payment of ¥1,500 did not go through"
    assert "¥1,500" in email.html
    assert "¥1,500" in email.text


def test_a_trial_says_when_the_first_charge_is() -> None:
    email = rendered("subscriptionCreated", trialEndsAt="2026-06-23T00:00:00Z")
    assert "you pay nothing before that day" in email.text
    assert "First charge: 23\N{NO-BREAK SPACE}June 2026" in email.text
