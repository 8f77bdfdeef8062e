"""What a payload must look like, and what is said about one that does not."""

from typing import Any

import pytest
from pydantic import ValidationError

from functions.send_email.handler import send_email
from functions.send_email.models import TEMPLATES, Email, Welcome
from stashjobs import InvalidPayload


def payload(**changes: Any) -> dict[str, Any]:
    return {
        "to": "ada@example.com",
        "template": "welcome",
        "data": {"name": "Ada", "getStartedUrl": "https://app.example.com/start"},
        **changes,
    }


def reasons(value: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Email.model_validate(value)
    return {".".join(map(str, each["loc"])): each["msg"] for each in caught.value.errors()}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_has_an_example_that_is_valid(name: str) -> None:
    example = TEMPLATES[name].example()
    assert Email.model_validate(payload(template=name, data=example)).template == name


@pytest.mark.parametrize("example", Email.model_json_schema()["examples"])
def test_every_example_in_the_json_schema_is_valid(example: dict[str, Any]) -> None:
    Email.model_validate(example)


def test_a_payload_survives_the_journey_to_json_and_back() -> None:
    email = Email.model_validate(payload(tags={"campaign": "spring"}, replyTo="help@example.com"))
    assert Email.model_validate(email.model_dump(mode="json", by_alias=True)) == email


def test_an_email_can_be_made_of_models() -> None:
    data = Welcome(name="Ada", get_started_url="https://app.example.com/start")
    assert Email(to="ada@example.com", template="welcome", data=data) == Email.model_validate(
        payload()
    )


def test_one_address_becomes_a_list() -> None:
    assert Email.model_validate(payload()).to == ["ada@example.com"]


def test_an_unknown_template_is_named_and_the_known_ones_listed() -> None:
    assert "paymentFailed" in reasons(payload(template="wellcome"))["template"]


def test_a_wrong_field_is_reported_at_its_own_place() -> None:
    data = {"name": "Ada", "resetUrl": "javascript:alert(1)", "token": "x"}
    found = reasons(payload(template="passwordReset", data=data))
    assert found == {
        "data.resetUrl": "must be an absolute http or https link",
        "data.expiresAt": "Field required",
        "data.token": "Extra inputs are not permitted",
    }


def test_the_data_of_another_template_is_refused() -> None:
    found = reasons(payload(template="emailChange"))
    assert set(found) == {
        "data.newEmail",
        "data.confirmUrl",
        "data.expiresAt",
        "data.getStartedUrl",
    }


def test_an_unknown_top_level_field_is_refused() -> None:
    assert set(reasons(payload(sendAt="now"))) == {"sendAt"}


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.com",
        "Ada <ada@example.com>",
        '"Lovelace, Ada" <ada+news@mail.example.co.uk>',
        "Zoë Ångström <zoe@example.com>",
        "o'hara_1@xn--bcher-kva.example",
    ],
)
def test_an_ordinary_address_is_accepted(address: str) -> None:
    Email.model_validate(payload(to=address))


NO_ADDRESSES = [
    "",
    "ada",
    "ada@",
    "@example.com",
    "ada@example",
    "ada@@example.com",
    "ada@example..com",
    "ada..b@example.com",
    "ada@-example.com",
    "ada@example.com, bob@example.com",
    "Ada <ada@example.com> <bob@example.com>",
    "ada@exam ple.com",
    "a" * 65 + "@example.com",
]


def test_something_else_is_not_an_address() -> None:
    found = {each: [*reasons(payload(to=[each]))] for each in NO_ADDRESSES}
    assert [each for each, fields in found.items() if fields != ["to.0"]] == []


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\u2028", "\x00"])
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "replyTo"])
def test_no_address_field_can_inject_a_header(field: str, break_: str) -> None:
    value = f"ada@example.com{break_}Bcc: eve@example.com"
    assert set(reasons(payload(**{field: value}))) == {f"{field}.0"}


def test_no_subject_can_inject_a_header() -> None:
    assert set(reasons(payload(subject="Hello\r\nBcc: eve@example.com"))) == {"subject"}


def test_no_name_can_inject_a_header_through_the_subject() -> None:
    data = {"name": "Ada\nBcc: eve@example.com", "getStartedUrl": "https://a.example"}
    assert set(reasons(payload(data=data))) == {"data.name"}


def test_text_that_reverses_its_direction_is_refused() -> None:
    data = {"name": "Ada \u202emoc.live", "getStartedUrl": "https://a.example"}
    assert set(reasons(payload(data=data))) == {"data.name"}


NO_LINKS = [
    "javascript:alert(1)",
    "JavaScript://example.com/%0aalert(1)",
    "data:text/html,x",
    "ftp://example.com",
    "//example.com",
    "/start",
    "https://",
    "https:///path",
    "https://user:secret@example.com",
    "https://example.com/a b",
    'https://example.com/"onclick="x',
    "https://example.com\\@evil.example",
    "https://example.com:port",
    "https://example.com/\r\n",
]


def test_a_link_that_is_not_plain_http_is_refused() -> None:
    found = {
        each: set(reasons(payload(data={"name": "Ada", "getStartedUrl": each})))
        for each in NO_LINKS
    }
    assert found == {key: {"data.getStartedUrl"} for key in NO_LINKS}


@pytest.mark.parametrize("link", ["http://localhost:3000/x?a=1&b=2#c", "https://bücher.example/ä"])
def test_a_plain_http_link_is_kept_as_it_is(link: str) -> None:
    email = Email.model_validate(payload(data={"name": "Ada", "getStartedUrl": link}))
    assert isinstance(email.data, Welcome)
    assert email.data.get_started_url == link


def test_no_recipient_is_refused() -> None:
    assert set(reasons(payload(to=[]))) == {"to"}


def test_more_than_fifty_recipients_are_refused() -> None:
    assert set(reasons(payload(to=[f"u{i}@example.com" for i in range(51)]))) == {"to"}


def test_a_time_without_an_offset_is_refused() -> None:
    data = {
        "name": "Ada",
        "resetUrl": "https://a.example",
        "expiresAt": "2026-06-09T14:30:00",
    }
    assert set(reasons(payload(template="passwordReset", data=data))) == {"data.expiresAt"}


@pytest.mark.parametrize("amount", [-1, 12.5, "100"])
def test_an_amount_is_a_whole_number_of_minor_units(amount: object) -> None:
    data = {
        "name": "Ada",
        "amount": amount,
        "currency": "usd",
        "updatePaymentUrl": "https://a.example",
    }
    assert set(reasons(payload(template="paymentFailed", data=data))) == {"data.amount"}


def test_a_tag_that_resend_would_refuse_is_refused_here() -> None:
    assert reasons(payload(tags={"plan": "très cher"}))


def test_the_layer_carries_every_payload_to_the_row_and_back() -> None:
    for example in Email.model_json_schema()["examples"]:
        email = send_email.read_payload(example)
        assert send_email.read_payload(send_email.dump_payload(email)) == email


def test_the_layer_names_the_field_that_does_not_fit() -> None:
    with pytest.raises(InvalidPayload, match=r"data\.getStartedUrl"):
        send_email.read_payload(payload(data={"name": "Ada", "getStartedUrl": "x"}))
