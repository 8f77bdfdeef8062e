"""`stashjobs remove`, the reverse of `stashjobs new`: all of it goes, or nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.commands import scaffold
from infra.commands.scaffold import removal
from infra.commands.scaffold.entries import LISTS_TYPES, without
from infra.commands.scaffold.proof import Misfit
from infra.commands.scaffold.wanted import Wanted
from stashjobs.tools.cli import main
from tests.examples import examples
from tests.integration.test_new import files_of

if TYPE_CHECKING:
    from tests.deliveries import Table

ROOT = Path(__file__).parents[2]
TEXTS = {path: (ROOT / path).read_text() for path in LISTS_TYPES}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, with a type of its own that has no jobs."""
    copy = tmp_path_factory.mktemp("remove")
    for name in ("functions", "infra"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in TEXTS:
        (copy / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, copy / path)
    (copy / "shared").symlink_to(ROOT / "shared")
    wanted = Wanted("made-here", "/api/jobs/made-here", timeout=45, retries=3)
    scaffold.carry_out(copy, scaffold.work_out(copy, wanted))
    return copy


@pytest.fixture
def remove(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("POSTGRES_URL", raising=False)

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(main, ["remove", *arguments], **options)

    return run


types = st.builds(
    Wanted,
    type=st.sampled_from(["made-here", "send", "relay-b2", "send-email-twice", "a1", "cleanup"]),
    endpoint=st.sampled_from(["/api/jobs/made-here", "/api/jobs/x"]),
    timeout=st.integers(2, 890),
    retries=st.integers(0, 100),
    schedule=st.sampled_from([None, "0 3 * * *"]),
    encrypted=st.booleans(),
    parallelism=st.integers(1, 12),
)


@settings(max_examples=examples(8))
@given(wanted=types, others=st.lists(types, max_size=3, unique_by=lambda each: each.type))
def test_new_and_then_remove_gives_back_every_byte(wanted: Wanted, others: list[Wanted]) -> None:
    """Whatever the options, and whatever other types there are."""
    before = TEXTS
    for other in others:
        if other.type != wanted.type:
            before = before | scaffold.listed(before, other)
    after = before | scaffold.listed(before, wanted)
    assert after != before
    assert without(after, wanted) == before


def test_it_says_what_it_removed_and_the_checkout_is_as_it_was_before(
    remove: Any, checkout: Path
) -> None:
    made = files_of(checkout)
    as_before = {path: (ROOT / path).read_bytes() for path in made if (ROOT / path).exists()}
    try:
        done = remove("made-here", "--yes")
        assert done.exit_code == 0, done.output
        assert files_of(checkout) == as_before
    finally:
        for path, content in made.items():
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_bytes(content)
    assert done.output.splitlines()[:7] == [
        "deleted  functions/made_here/",
        "deleted  tests/integration/made_here/",
        "deleted  docs/made-here.md",
        "changed  template.yaml",
        "changed  infra/alarms.yaml",
        "changed  infra/dashboard.yaml",
        "changed  docs/creating-jobs.md",
    ]
    assert "stashjobs list --type made-here --stage STAGE" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["send-email", "--yes"], 2, "send-email comes with stashjobs; leave it out of a stage"),
        (["never-made", "--yes"], 2, "there is no job type never-made in functions/never_made"),
        (["relay", "--yes"], 2, "there is no job type relay in functions/relay"),
        (["../docs", "--yes"], 2, "'../docs' is no name for a job type"),
        (["made-here"], 1, "made-here and its code will be gone. Go on?"),
        (["made-here", "--dry-run"], 0, "-  MadeHereFunction:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_or_is_not_meant_changes_nothing(
    remove: Any, checkout: Path, arguments: list[str], code: int, words: str
) -> None:
    before = files_of(checkout)
    done = remove(*arguments, input="n\n")
    assert (done.exit_code, words in done.output) == (code, True), done.output
    assert files_of(checkout) == before


def test_a_type_that_another_one_uses_stays(remove: Any, checkout: Path) -> None:
    user = checkout / "functions" / "relay" / "also.py"
    user.write_text("from functions.made_here.handler import made_here\n")
    try:
        done = remove("made-here", "--yes")
    finally:
        user.unlink()
    assert (done.exit_code, "is used by functions/relay/also.py" in done.output) == (2, True)
    assert (checkout / "functions" / "made_here").is_dir()


def test_a_type_that_a_template_names_elsewhere_stays_and_the_line_is_told() -> None:
    wanted = Wanted("made-here", "/api/jobs/made-here", timeout=45, retries=3)
    texts = TEXTS | scaffold.listed(TEXTS, wanted)
    line = "  Mine: {Type: AWS::SSM::Parameter, Value: !Ref MadeHereFunction}\n"
    texts["template.yaml"] = texts["template.yaml"].replace("Outputs:\n", f"{line}Outputs:\n", 1)
    with pytest.raises(Misfit, match=r"template\.yaml names made-here in 'Mine: "):
        removal.refuse_rest(without(texts, wanted), wanted)


def test_a_type_whose_jobs_have_not_ended_stays_unless_asked(
    remove: Any, checkout: Path, table: Table, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("POSTGRES_URL", database_url)
    table.run(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts)"
        " VALUES ('a', 'made-here', '{}', 4)"
    )
    before = files_of(checkout)
    done = remove("made-here", "--yes")
    assert done.exit_code == 2, done.output
    assert "1 open job of made-here in local: wait for the end" in done.output
    assert files_of(checkout) == before
    asked = remove("made-here", "--with-open-jobs", input="n\n")
    assert "made-here and its code will be gone" in asked.output


def test_what_goes_wrong_half_way_is_taken_back(remove: Any, checkout: Path) -> None:
    in_the_way = checkout / "docs" / ".creating-jobs.md.new"
    in_the_way.mkdir()
    before = files_of(checkout)
    done = remove("made-here", "--yes")
    in_the_way.rmdir()
    assert (done.exit_code, "Nothing was changed" in done.output) == (1, True)
    assert files_of(checkout) == before
