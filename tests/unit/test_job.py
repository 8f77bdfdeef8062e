"""`@job`: what is refused at the declaration, and what a payload is read as."""

from __future__ import annotations

import functools
import importlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import stashjobs
from stashjobs import Context, InvalidPayload, UnknownJobType
from stashjobs.job_type import MANY, broken, declared, find, load
from stashjobs.store.jsonb import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


@dataclass
class Point:
    x: int
    y: int = 0


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


@stashjobs.job("unit-cat", endpoint="/cat")
def cat_job(payload: Cat, _context: Context) -> int:
    """Counts lives."""
    return payload.lives


@stashjobs.job("unit-pet", endpoint="/pet")
def pet_job(payload: Pet, _context: Context) -> None:
    """Takes one of two models."""


@stashjobs.job("unit-point", endpoint="/point")
def point_job(payload: Point, _context: Context) -> None:
    """Takes a dataclass."""


@stashjobs.job("unit-list", endpoint="/list")
def list_job(payload: list[int], _context: Context) -> None:
    """Takes a list."""


class Moment(BaseModel):
    model_config = ConfigDict(strict=True)

    at: datetime


@stashjobs.job("unit-strict", endpoint="/strict")
def strict_job(payload: Moment, _context: Context) -> None:
    """Takes a time, and no text that is one."""


@stashjobs.job("unit-bare", endpoint="/bare")
def bare_job(payload, _context):  # type: ignore[no-untyped-def]
    """Takes anything."""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "Send-Email"}, "lower case"),
        ({"type": "send_email"}, "lower case"),
        ({"type": "send--email"}, "lower case"),
        ({"type": ""}, "lower case"),
        ({"type": "send-email\n"}, "lower case"),
        ({"endpoint": "api/jobs"}, "slash"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0 s"),
        ({"timeout": 891}, "timeout is 891 s"),
        ({"timeout": float("nan")}, "timeout is nan s"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(changed: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"type": "unit-x", "endpoint": "/x"} | changed
    with pytest.raises(ValueError, match=said):
        stashjobs.job(**arguments)(lambda payload, _context: payload)


def test_a_type_has_one_function() -> None:
    def other(payload: Any, _context: Context) -> None:
        """Another one."""

    with pytest.raises(ValueError, match="'unit-cat' is declared twice"):
        stashjobs.job("unit-cat", endpoint="/x")(other)
    assert find("unit-cat") is cat_job


def test_a_module_that_is_reloaded_may_declare_its_job_again() -> None:
    again = stashjobs.job("unit-point", endpoint="/point")(point_job.function)
    assert find("unit-point") is again


def test_an_unknown_type_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UnknownJobType, match=r"unknown job type 'nope'; declared here: .*unit-cat"):
        find("nope")


@pytest.mark.parametrize("given", ["unit-cta", "unitCat", "unit_cat", "UNIT-CAT", "unit-catt"])
def test_a_misspelt_type_is_told_with_the_nearest_one(given: str) -> None:
    with pytest.raises(UnknownJobType, match=rf"'{given}'; .*Did you mean unit-cat\?"):
        find(given)


def test_a_handler_that_cannot_be_imported_is_passed_over_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, code in {
        "broken": "import not_installed_anywhere\n",
        "whole": "import stashjobs\n"
        '@stashjobs.job("unit-whole", endpoint="/whole")\n'
        "def whole(payload, context): ...\n",
    }.items():
        folder = tmp_path / "unit_functions" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "handler.py").write_text(code)
    (tmp_path / "unit_functions" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        load("unit_functions")
    load("unit_functions", skip_broken=True)
    assert find("unit-whole").endpoint == "/whole"
    [said] = broken()
    assert said.startswith(
        "unit_functions/broken/handler.py cannot be imported: ModuleNotFoundError: No module named "
        "'not_installed_anywhere' (install the package that has it"
    )
    assert said in caplog.text
    (tmp_path / "unit_functions" / "broken" / "handler.py").write_text("")
    importlib.invalidate_caches()
    load("unit_functions", skip_broken=True)
    assert broken() == []


def test_declared_jobs_are_sorted_by_name() -> None:
    names = [job.type for job in declared()]
    assert names == sorted(names)
    assert "unit-cat" in names


def test_a_job_is_callable_as_its_function() -> None:
    assert cat_job(Cat(kind="cat"), Context("j", "t", 1, 1)) == 9
    assert cat_job.__doc__ == "Counts lives."
    assert repr(cat_job) == "<Job unit-cat at /cat>"


@pytest.mark.parametrize(
    ("job", "given", "stored"),
    [
        (cat_job, Cat(kind="cat"), {"kind": "cat", "lives": 9}),
        (cat_job, {"kind": "cat", "lives": "3"}, {"kind": "cat", "lives": 3}),
        (pet_job, {"kind": "dog"}, {"kind": "dog"}),
        (pet_job, Cat(kind="cat"), {"kind": "cat", "lives": 9}),
        (point_job, Point(1), {"x": 1, "y": 0}),
        (list_job, (1, 2), [1, 2]),
        (bare_job, {"any": ["thing"]}, {"any": ["thing"]}),
        (bare_job, None, None),
    ],
)
def test_a_payload_becomes_plain_json_and_comes_back(job: Any, given: Any, stored: Any) -> None:
    assert job.dump_payload(given) == stored
    assert job.dump_payload(job.read_payload(stored)) == stored


@pytest.mark.parametrize(
    ("job", "given"),
    [
        (cat_job, {"kind": "dog"}),
        (cat_job, Dog(kind="dog")),
        (pet_job, {"kind": "fish"}),
        (point_job, {}),
        (list_job, {"a": 1}),
        (list_job, None),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(job: Any, given: Any) -> None:
    with pytest.raises(InvalidPayload, match=f"does not fit {job.type}"):
        job.dump_payload(given)


def test_the_reasons_name_fields_and_no_values() -> None:
    with pytest.raises(InvalidPayload) as refusal:
        cat_job.read_payload({"kind": "cat", "lives": "secret-value"})
    [reason] = refusal.value.reasons
    assert reason.startswith("lives: ")
    assert "secret-value" not in str(refusal.value)


def test_to_json_refuses_what_is_no_json() -> None:
    for value in (float("nan"), [float("inf")]):
        with pytest.raises(ValueError, match="not JSON compliant"):
            to_json(value)


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MANY_CATS = [{"kind": "cat", "lives": number} for number in range(MANY)]


@pytest.mark.parametrize(
    ("job", "payloads"),
    [
        (cat_job, MANY_CATS),
        (cat_job, [Cat(kind="cat")] * MANY),
        (pet_job, [*MANY_CATS, Dog(kind="dog"), {"kind": "dog"}]),
        (point_job, [Point(1), {"x": 2}] * MANY),
        (list_job, [(1, 2), [3]] * MANY),
        (bare_job, [None, {"any": ["thing"]}] * MANY),
        # One after the other, since together they do not do.
        (strict_job, [{"at": NEW_YEAR}, {"at": NEW_YEAR.isoformat()}] * MANY),
    ],
)
def test_many_payloads_are_written_as_each_would_be(job: Any, payloads: list[Any]) -> None:
    assert job.dump_payloads(payloads) == [job.dump_payload(each) for each in payloads]


@pytest.mark.parametrize(
    "wrong", [{"kind": "dog"}, Dog(kind="dog"), {"kind": "cat", "lives": math.nan}, object(), None]
)
def test_of_many_payloads_the_one_that_does_not_fit_is_refused_as_if_alone(wrong: Any) -> None:
    with pytest.raises(InvalidPayload) as alone:
        cat_job.dump_payload(wrong)
    with pytest.raises(InvalidPayload) as one_of_many:
        cat_job.dump_payloads([*MANY_CATS, wrong])
    assert one_of_many.value.reasons == alone.value.reasons


class Credentials(BaseModel):
    password: SecretStr
    note: str = Field(default="", exclude=True)


@stashjobs.job("unit-secret", endpoint="/secret")
def secret_job(payload: Credentials, _context: Context) -> None:
    """Takes what does not survive being written as JSON."""


def test_of_many_payloads_one_that_would_lose_something_is_refused() -> None:
    with pytest.raises(InvalidPayload, match="read back it is not the same"):
        secret_job.dump_payloads([Credentials(password=SecretStr("s3cr3t"))] * MANY)


@pytest.mark.parametrize(
    "lost",
    [Credentials(password=SecretStr("s3cr3t")), Credentials(password=SecretStr(""), note="x")],
)
def test_a_payload_that_would_lose_something_is_refused(lost: Credentials) -> None:
    with pytest.raises(InvalidPayload, match="read back it is not the same"):
        secret_job.dump_payload(lost)


def _generator(_payload: Any, _context: Any) -> Iterator[int]:
    yield 1


async def _async_generator(_payload: Any, _context: Any) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function",
    [_generator, _async_generator, functools.partial(_generator)],
)
def test_a_generator_is_refused_where_it_is_declared(function: Callable[..., Any]) -> None:
    declare = stashjobs.job("unit-generator", endpoint="/x")
    with pytest.raises(ValueError, match="unit-generator: its function is a generator"):
        declare(function)


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda payload: payload, lambda a, b, c: (a, b, c), lambda *, a, b: a]
)
def test_a_function_without_payload_and_context_is_refused(function: Callable[..., Any]) -> None:
    declare = stashjobs.job("unit-arguments", endpoint="/x")
    with pytest.raises(ValueError, match="must take two arguments, a payload and a context"):
        declare(function)
    assert "unit-arguments" not in {job.type for job in declared()}


@pytest.mark.parametrize("option", ["parallelism", "rate"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_refused(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"unit-limit: {option} is {value}, it must be 1 or more"):
        stashjobs.job("unit-limit", endpoint="/x", **{option: value})  # type: ignore[arg-type]


class _Steps:
    """Ways to write a job's function that are not a plain `def`."""

    def __call__(self, payload: Cat, _context: Context) -> int:
        return payload.lives

    def method(self, payload: Cat, _context: Context) -> int:
        return payload.lives

    @staticmethod
    def static(payload: Cat, _context: Context) -> int:
        return payload.lives


def _with_more(payload: Cat, _context: Context, *, more: int) -> int:
    return payload.lives + more


def _of_another_module(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a decorator that was imported: its own names are not those of the annotations."""
    module: dict[str, Any] = {}
    exec(  # noqa: S102 - a module of its own
        "from __future__ import annotations\n"
        "import functools\n"
        "def decorate(function: Callable) -> Callable:\n"
        "    @functools.wraps(function)\n"
        "    def inner(payload: Unknown, context: NotImported) -> Nothing:\n"
        "        return function(payload, context)\n"
        "    return inner\n",
        module,
    )
    decorated: Callable[..., Any] = module["decorate"](function)
    return decorated


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (_Steps(), 9),
        (_Steps().method, 9),
        (_Steps.static, 9),
        (staticmethod(_Steps.static), 9),
        (functools.partial(_with_more, more=1), 10),
        (_of_another_module(_Steps.static), 9),
        (functools.partial(_of_another_module(_Steps.static)), 9),
    ],
)
def test_whatever_can_be_called_is_a_job_s_function(
    function: Callable[..., Any], result: int
) -> None:
    made = stashjobs.job(f"unit-callable-{id(function)}", endpoint="/x")(function)
    assert made.payload_type is Cat
    assert made(made.read_payload({"kind": "cat"}), None) == result  # type: ignore[arg-type]


def test_what_follows_a_failure_is_another_type_that_postgres_can_enqueue() -> None:
    def refused(on_failed: Any, why: str, error: type[Exception] = ValueError) -> None:
        with pytest.raises(error, match=f"followed: on_failed is .*{why}"):
            stashjobs.job("followed", endpoint="/a", on_failed=on_failed)

    def of(type_: str, **options: Any) -> Any:
        return stashjobs.job(type_, endpoint="/a", **options)(lambda _payload, _context: None)

    refused("tell", "give a job type", TypeError)
    refused(of("follower-encrypted", encrypted=True), "is declared encrypted")
    itself = of("follower-itself")
    with pytest.raises(ValueError, match="on_failed is the type itself"):
        stashjobs.job("follower-itself", endpoint="/a", on_failed=itself)
