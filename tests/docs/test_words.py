"""One word for one thing: terms that were replaced stay out of pages, code and templates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS = ("docs", "functions", "shared", "infra", "tests", "benchmarks", ".github")
SUFFIXES = {".py", ".md", ".sql", ".html", ".txt", ".toml", ".yaml", ".yml", ".js", ".css"}
# Applied migrations never change, the changelog names old words, and this file must list them.
EXEMPT = (
    "shared/stashjobs/store/migrations/0",
    "tests/integration/release_0_1/",  # as that release has them
    "CHANGELOG.md",
    "tests/docs/test_words.py",
)
# What is stored or read by scripts keeps its name: `$sealed`, "stashjobs sealed v1", "resealed".
STORED = re.compile(r"\$sealed|stashjobs sealed v1|\"resealed\"")
WORDS = {
    r"(un|re)?seal(s|ed|er|ing)?\b|sealerror": "encrypt, decrypt",
    r"tell(s|ing)? qstash|qstash (is|was|were|be|has been|could not be) (not )?told": "publish",
    r"given[ _]up[ _]on|g(ave|ives?|iving) up on (a |the |this |these )?(messages?|jobs?)"
    r"|qstash (gave|gives|has given) up|givenup\b": "dead letter",
    r"whoever": "worker, producer, relay, operator, or anyone",
    r"(run|retried|cancelled) (again )?by[ _]hand": "manual retry",
    r"which setting lacks|what lacks": "names the missing setting",
    r"somebody of ours|has it that": "plain words",
}
OF_WEBHOOKS = ("functions/webhooks/", "docs/webhooks.md", "tests/unit/webhooks/")


def found(path: str, text: str) -> Iterator[str]:
    """Each replaced word in a file: its line, the word, and the word to use."""
    words = dict(WORDS)
    if path.startswith(OF_WEBHOOKS):
        # Not GitHub's member "sender", nor the sender of an email.
        words[r'(?<!")\bsenders?\b(?!")'] = "source"
    text = STORED.sub("", text).lower()
    if not re.search(_one_of(*words), text):  # once over the text for all: there are few to find
        return
    for pattern, better in words.items():
        for word in re.finditer(_one_of(pattern), text):
            line = text.count("\n", 0, word.start()) + 1
            yield f"{path}:{line}: {word[0]!r}; say: {better}"


def _one_of(*patterns: str) -> str:
    return f"(?<![a-z])(?:{'|'.join(patterns)})"


def files() -> Iterator[Path]:
    yield from (each for each in ROOT.iterdir() if each.suffix in SUFFIXES)
    for folder in FOLDERS:
        yield from (each for each in (ROOT / folder).rglob("*") if each.suffix in SUFFIXES)


def test_no_replaced_word_is_back() -> None:
    problems: list[str] = []
    for file in sorted(files()):
        path = file.relative_to(ROOT).as_posix()
        if not path.startswith(EXEMPT):
            problems += found(path, file.read_text())
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "line",
    [
        "a sealed payload",
        "from stashjobs.sealing import unseal",
        "raise SealError",
        "it tells QStash of the job",
        "QStash was not told",
        "messages that QStash gave up on",
        "Whoever enqueues it",
        "it was retried by hand",
        "its log says which setting lacks",
    ],
)
def test_a_replaced_word_is_found(line: str) -> None:
    assert list(found("docs/usage.md", line))


@pytest.mark.parametrize(
    "line",
    ['{"$sealed": {"v": 1}}', '"stashjobs sealed v1"', "added by hand", "gives up on a statement"],
)
def test_other_uses_of_a_word_are_left_alone(line: str) -> None:
    assert not list(found("docs/usage.md", line))


def test_a_webhook_has_a_source_and_githubs_member_keeps_its_name() -> None:
    assert list(found("docs/webhooks.md", "the sender signs it"))
    assert not list(found("docs/webhooks.md", '{"sender": {"login": "ada"}}'))
    assert not list(found("docs/email.md", "the sender's name"))
