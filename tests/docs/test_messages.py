"""The page of messages has every message that is raised to a person, and no other."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT
from tests.docs.messages import FEWEST_LETTERS, Message, all_texts, as_pattern, messages

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## By message\n")[2]
FIRST_COLUMN = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)
QUOTED = [
    text for column in FIRST_COLUMN.findall(PAGE) for text in re.findall(r"`([^`]+)`", column)
]

BY_ITS_PLACE = {
    "infra/local/qstash/": "speaks as QStash, whose documentation has its errors",
    "infra/local/mailbox/": "speaks as Resend, likewise",
    "infra/local/chaos/": "breaks things on purpose; its messages are its faults",
    "shared/stashjobs/testing/": "is seen in a test's report, beside the line that asked for it",
}
BY_ITS_KIND = {
    "PydanticCustomError": "follows `the payload does not fit` or a 422, with its field's name",
    "ExpressionError": "follows `retry_delay is`, with the type's name",
    "AssertionError": "a mistake in the code, with a traceback",
    "LookupError": "a mistake in the code, with a traceback",
    "RuntimeError": "a mistake in the code, with a traceback",
    "TypeError": "a mistake in the code, with a traceback",
    "AttributeError": "a mistake in the code, with a traceback",
    "OperationalError": "psycopg's own: caught, and the connection is made anew",
}


def needs_no_row(message: Message) -> bool:
    return message.kind in BY_ITS_KIND or message.file.startswith(tuple(BY_ITS_PLACE))


def test_the_collection_is_not_empty() -> None:
    assert {"SettingError", "WrongUse", "StackError", "red", "yellow"} <= {
        each.kind for each in messages()
    }


def test_what_is_quoted_is_said() -> None:
    stale = [quoted for quoted in QUOTED if not as_pattern(quoted).search(all_texts())]
    assert stale == []


def test_every_message_is_on_the_page() -> None:
    patterns = [as_pattern(quoted) for quoted in QUOTED]
    unknown = [
        str(message)
        for message in messages()
        if not needs_no_row(message)
        if not any(each.search(" ".join(message.text.split())) for each in patterns)
    ]
    assert unknown == []


def test_no_quotation_fits_everything() -> None:
    bare = [text for text in QUOTED if len(re.findall("[A-Za-z]", text)) < FEWEST_LETTERS]
    assert bare == []


def test_every_exception_is_still_needed() -> None:
    found = {word for each in messages() for word in (each.kind, *_folders(each.file))}
    assert {*BY_ITS_PLACE, *BY_ITS_KIND} <= found


def _folders(file: str) -> list[str]:
    parts = file.split("/")
    return ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts))]
