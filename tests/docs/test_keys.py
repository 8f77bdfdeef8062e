"""Pages are followed one after the other, in one system: none uses up what another needs."""

from __future__ import annotations

import re
from collections import defaultdict

from tests.docs.blocks import PAGES

KEY = re.compile(
    r"""idempotency[-_]?key["']?\s*(?:=>|[=:]|\s)\s*["']?([\w.-]+:[\w.:-]*)""", re.IGNORECASE
)


def test_an_idempotency_key_is_used_on_one_page_only() -> None:
    """On a second one, the answer would be the first one's job."""
    pages = defaultdict(set)
    for page in PAGES:
        for key in KEY.findall(page.read_text()):
            pages[key].add(page.name)
    assert pages
    assert {key: names for key, names in pages.items() if len(names) > 1} == {}


def test_a_key_is_found_in_every_language() -> None:
    texts = [
        'enqueue(email, idempotency_key="a:1")',
        '{ idempotencyKey: "a:1" }',
        '{"idempotencyKey": "a:1"}',
        "idempotency_key => 'a:1'",
        "-H 'Idempotency-Key: a:1'",
        "stashjobs enqueue hello --idempotency-key a:1",
    ]
    assert [KEY.findall(text) for text in texts] == [["a:1"]] * len(texts)
