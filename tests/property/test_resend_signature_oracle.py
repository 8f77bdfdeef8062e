"""Svix's scheme here, against Resend's own SDK. One difference is intended, and tested below."""

from __future__ import annotations

import base64
import hmac
import time

import resend
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.webhooks.schemes import NotSigned
from functions.webhooks.sources import RESEND
from tests.examples import examples
from tests.webhooks import RESEND_SECRET

KEY = base64.b64decode(RESEND_SECRET.removeprefix("whsec_"))


def ours(headers: dict[str, str], body: str) -> bool:
    named = {f"svix-{name}": value for name, value in headers.items()}
    try:
        RESEND.scheme.verify(named, body.encode(), keys=[KEY])
    except NotSigned:
        return False
    return True


def theirs(headers: dict[str, str], body: str) -> bool:
    try:
        resend.Webhooks.verify(
            {
                "payload": body,
                "headers": {
                    "id": headers.get("id", ""),
                    "timestamp": headers.get("timestamp", ""),
                    "signature": headers.get("signature", ""),
                },
                "webhook_secret": RESEND_SECRET,
            }
        )
    except ValueError:
        return False
    return True


def signature(message: str, sent: str, body: str, key: bytes = KEY) -> str:
    signed = f"{message}.{sent}.{body}".encode()
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, str], str]:
    body = draw(st.sampled_from(["{}", '{"test": 2432232314}', '{"grüße": 1}']))
    message = draw(st.sampled_from(["msg_1", "msg_1", "a.b", ""]))
    sent = int(time.time()) + draw(st.sampled_from([0, 0, 0, -250, 250, -350, 350, 10**9]))
    spelled = draw(st.sampled_from([str(sent)] * 4 + [f"+{sent}", "soon", ""]))
    good = signature(message, spelled, body)
    candidates = [
        f"v1,{good}",
        f"v1,{good}",
        f"v1,{good[:-2]}",
        f"v1,{signature(message, spelled, body, b'another')}",
        f"v1,{signature('msg_2', spelled, body)}",
        "v1",
        "v1,é",
        good,
    ]
    made = draw(st.lists(st.sampled_from(candidates), max_size=3))
    headers = {"id": message, "timestamp": spelled, "signature": " ".join(made)}
    dropped = draw(st.sampled_from([*headers] + [None] * 9))
    return {name: value for name, value in headers.items() if name != dropped}, draw(
        st.sampled_from([body] * 4 + [f"{body} "])
    )


@given(requests())
@settings(max_examples=examples(150), deadline=None)
def test_both_accept_or_both_refuse(request: tuple[dict[str, str], str]) -> None:
    assert ours(*request) == theirs(*request)


def test_only_signatures_of_version_1_count_here() -> None:
    """Svix docs, "Verifying Webhooks Manually": the version is there so that it can be told apart
    from those to come. Resend's SDK takes a signature of any."""
    sent = str(int(time.time()))
    headers = {"id": "m", "timestamp": sent, "signature": f"v2,{signature('m', sent, '{}')}"}
    assert not ours(headers, "{}")
    assert theirs(headers, "{}")
