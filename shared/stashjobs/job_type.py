"""What a job type is: what was declared of it, the codec of its payload, and the registry of the
types that this process knows. The face that apps and Lambda use is `stashjobs.job`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import logging
import pkgutil
import re
import typing
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stashjobs.config import settings
from stashjobs.errors import InvalidPayload, SettingError, UnknownJobType
from stashjobs.observability import redaction
from stashjobs.sameness import is_same
from stashjobs.store.jsonb import to_json, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stashjobs.delivery.context import Context

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Kept = TypeVar("Kept")

# Who may enqueue a type over HTTP, the widest first (docs/api.md, "Access").
ENQUEUED_BY = ("apps", "operators", "system")
TYPE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NO_EXAMPLE = (
    'its model gives no example; give it model_config = {"json_schema_extra": {"examples": [...]}}'
)
NOT_THE_SAME = (
    "written as JSON and read back it is not the same (SecretStr? exclude=True? a subclass?)"
)
# From so many payloads on they are validated together: that takes a validator of its own.
MANY = 50
# What QStash allows for a rate (Upstash docs, "Flow Control").
MAX_PERIOD_SECONDS = 7 * 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# The types that this stage has no function for, with spaces between them: the template's own words.
LEFT_OUT = "LEFT_OUT_JOBS"
_registry: dict[str, JobType[Any, Any]] = {}
# By module, why it could not be imported.
_broken: dict[str, str] = {}
log = logging.getLogger("stashjobs")


class JobType(Generic[Payload, Result]):
    """A job type as it was declared: its function, and how QStash is to deliver it.

    Raises:
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        function: Callable[[Payload, Context], Result],
        *,
        type: str,  # noqa: A002 - the field's own term, on the wire too
        endpoint: str,
        retries: int,
        timeout: float,
        retry_delay: str | None,
        rate: int | tuple[int, str] | None,
        parallelism: int | None,
        encrypted: bool = False,
        retention: int | None = None,
        enqueued_by: str = "apps",
        on_failed: JobType[Any, Any] | None = None,
    ) -> None:
        self.function = function
        self.type = type
        self.endpoint = endpoint
        self.retries = retries
        self.timeout = timeout
        self.retry_delay = retry_delay
        self.rate, self.period_seconds = _rate_of(type, rate)
        self.parallelism = parallelism
        self.encrypted = encrypted
        self.retention = retention
        self.enqueued_by = enqueued_by
        self.on_failed = on_failed
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Job {self.type} at {self.endpoint}>"

    @cached_property
    def payload_type(self) -> Any:
        """The annotation of the function's first parameter, `Any` where it has none."""
        first = next(iter(inspect.signature(self.function).parameters.values()), None)
        if first is None or first.annotation is inspect.Parameter.empty:
            return Any
        # Only this one is resolved: a handler may import its Context for the type checker alone.
        alone = SimpleNamespace(__annotations__={"payload": first.annotation})
        names = getattr(innermost(self.function), "__globals__", {})
        return typing.get_type_hints(alone, names, include_extras=True)["payload"]

    @property
    def follower(self) -> tuple[str, int] | None:
        """The type of `on_failed`, and how many attempts its jobs have."""
        return None if self.on_failed is None else (self.on_failed.type, self.on_failed.retries + 1)

    def read_payload(self, document: Any) -> Payload:
        """The payload as the job's function takes it, from plain JSON; read as JSON, so that a
        strict model gets its dates and tuples.

        Raises:
            InvalidPayload: It does not fit. The reasons name fields, never values.
        """
        if self._adapter is None:
            return typing.cast("Payload", document)
        return self._read(json.dumps(document))

    def _read(self, text: str) -> Payload:
        try:
            return typing.cast("Payload", self._adapter.validate_json(text))
        except _validation_error() as error:
            raise InvalidPayload(
                self.type, _reasons(error, show_words=not self.encrypted)
            ) from None

    def dump_payload(self, payload: Payload | Mapping[str, Any]) -> Any:
        """The payload as plain JSON, proven to be read back by `read_payload` as the same.

        Raises:
            InvalidPayload: It does not fit, cannot be JSON, or loses something on the way (a
                `SecretStr` is written as asterisks, an excluded field not at all, a member that
                only a subclass of the model has is not read).
        """
        if self._adapter is None:
            return self._as_json(to_json, payload)
        read = self._read(self._as_json(to_text, payload))
        written = self._written(read)
        if not is_same(self._read(written), self._validated(payload, read)):
            raise InvalidPayload(self.type, [NOT_THE_SAME])
        return json.loads(written)

    def dump_payloads(self, payloads: list[Any]) -> list[Any]:
        """Many payloads as `dump_payload` has them.

        Raises:
            InvalidPayload: As `dump_payload`, for the first that cannot be enqueued.
        """
        if self._adapter is not None and len(payloads) >= MANY:
            all_of_them = self._adapter_of_many
            try:
                read = all_of_them.validate_json(to_text(payloads, round_trip=True))
                written = all_of_them.dump_json(read, by_alias=True, round_trip=True).decode()
                given = all_of_them.validate_python(payloads)
                if all(map(is_same, all_of_them.validate_json(written), given)):
                    return typing.cast("list[Any]", json.loads(written))
            except (TypeError, ValueError, RecursionError):
                pass  # which one it is, and why, or that only a list does not do
        return [self.dump_payload(payload) for payload in payloads]

    def _written(self, payload: Payload) -> str:
        """By its own type, whose fields may say how they are written."""
        try:
            text: bytes = self._adapter.dump_json(payload, by_alias=True, round_trip=True)
        except ValueError as error:
            raise InvalidPayload(self.type, [f"it is not JSON: {error}"]) from None
        return text.decode()

    def _validated(self, payload: Any, read: Payload) -> Any:
        """What was given, as the payload's type; `read`, which came of it, where it is JSON that a
        strict model takes as JSON alone."""
        try:
            return self._adapter.validate_python(payload)
        except _validation_error():
            return read

    def payload_schema(self) -> dict[str, Any]:
        """The payload model's JSON schema; empty where any JSON value will do."""
        if self._adapter is None:
            return {}
        schema: dict[str, Any] = self._adapter.json_schema(by_alias=True)
        return schema

    def example(self) -> Any:
        """The first example in the payload model's JSON schema, as plain JSON.

        Raises:
            InvalidPayload: The model gives none.
        """
        schema = self.payload_schema()
        if not schema.get("examples"):
            raise InvalidPayload(self.type, [NO_EXAMPLE])
        return schema["examples"][0]

    def _as_json(self, written: Callable[..., Kept], payload: Any) -> Kept:
        try:
            return written(payload, round_trip=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPayload(self.type, [f"it is not JSON: {error}"]) from None

    @cached_property
    def _adapter(self) -> Any:
        """Pydantic's validator, or None where any JSON value will do; then pydantic, whose import
        is felt in a cold start, is never needed."""
        if self.payload_type in {Any, None, type(None), object, dict, dict[str, Any]}:
            return None
        from pydantic import TypeAdapter

        return TypeAdapter(self.payload_type)

    @cached_property
    def _adapter_of_many(self) -> Any:
        from pydantic import TypeAdapter

        return TypeAdapter(list[self.payload_type])  # type: ignore[name-defined]


def _validation_error() -> type[ValueError]:
    from pydantic import ValidationError

    return ValidationError


def period_seconds(period: str) -> int:
    """A rate's period in seconds: `10s`, `1m`, `2h`, up to `7d`.

    Raises:
        ValueError: It is none, or is longer than a week.
    """
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", period)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= MAX_PERIOD_SECONDS:
        raise ValueError(f"the period is {period!r}; write 10s, 1m, 2h, up to 7d")
    return seconds


def _rate_of(job_type: str, rate: int | tuple[int, str] | None) -> tuple[int | None, int]:
    """So many deliveries, and in how many seconds."""
    if rate is None or isinstance(rate, int):
        return rate, 1
    try:
        number, period = rate
        if not isinstance(number, int):
            raise TypeError
        return number, period_seconds(period)
    except TypeError:
        raise ValueError(f'{job_type}: rate is {rate!r}; write 10 or (100, "1m")') from None
    except ValueError as error:
        raise ValueError(f"{job_type}: rate: {error}") from None


def register(declared: JobType[Any, Any]) -> None:
    """Make a type known in this process; declared anew by the same function it takes the old one's
    place.

    Raises:
        ValueError: Another function has this type already.
    """
    other = _registry.get(declared.type)
    if other is not None and _name(other.function) != _name(declared.function):
        raise ValueError(
            f"job type {declared.type!r} is declared twice: "
            f"by {_name(other.function)} and by {_name(declared.function)}"
        )
    _registry[declared.type] = declared


def find(job_type: str) -> JobType[Any, Any]:
    """The job of a type that is declared in this process.

    Raises:
        UnknownJobType: There is none; the message lists those there are. Or it is left out of this
            stage.
    """
    refuse_left_out(job_type)
    try:
        return _registry[job_type]
    except KeyError:
        known = ", ".join(sorted(_registry)) or "none"
        raise UnknownJobType(
            f"unknown job type {job_type!r}; declared here: {known} "
            "(a type is looked for in functions/*/handler.py, beside an __init__.py)"
            f"{close_to(job_type, _registry)}"
        ) from None


def close_to(wrong: str, known: Iterable[str]) -> str:
    """`. Did you mean send-email?`, the end of a message about a name that is none; empty where
    nothing is like it. Another spelling (`sendEmail`, `SEND_EMAIL`) and slips are found."""
    from difflib import get_close_matches

    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", wrong[:100]).lower().replace("_", "-")
    near = get_close_matches(kebab, sorted(known), n=1)
    return f". Did you mean {near[0]}?" if near else ""


def declared() -> list[JobType[Any, Any]]:
    """Every job type that this process knows, by name, but those left out of this stage."""
    left_out = _left_out()
    return [_registry[name] for name in sorted(_registry) if name not in left_out]


def is_left_out(job_type: str) -> bool:
    """Whether this stage was deployed without that type (`BundledJobs` in template.yaml)."""
    return job_type in _left_out()


def refuse_left_out(job_type: str) -> None:
    """Do nothing with a type that nothing would run.

    Raises:
        UnknownJobType: It is left out of this stage.
    """
    if is_left_out(job_type):
        raise UnknownJobType(
            f"{job_type} is left out of this stage; add it to the parameter BundledJobs and deploy"
        )


def _left_out() -> frozenset[str]:
    try:
        return frozenset(settings.optional(LEFT_OUT, "").split())
    except SettingError:  # the secret cannot be read; whatever needs more of it says so
        return frozenset()


def load(package: str = "functions", *, skip_broken: bool = False) -> list[JobType[Any, Any]]:
    """Import the handler of every function in `package`, and so declare all its job types.

    Args:
        package: The name of the folder.
        skip_broken: Pass over a handler that cannot be imported, and log it as an error: the relay
            and the API serve the other types meanwhile. `broken` has what was passed over.

    Raises:
        Exception: Whatever a handler raises when it is imported, unless those are passed over.
    """
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{module.name}.handler"
        if not module.ispkg or importlib.util.find_spec(name) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception as error:
            if not skip_broken:
                raise
            _broken[name] = (
                f"{name.replace('.', '/')}.py cannot be imported: {redaction.one_line(error)}. "
                "Its jobs wait until it is corrected and deployed"
            )
            log.error("%s", _broken[name])
        else:
            _broken.pop(name, None)
    return declared()


def broken() -> list[str]:
    """A sentence for each handler that the last `load` passed over, with the reason."""
    return [_broken[name] for name in sorted(_broken)]


def _name(function: Callable[..., Any]) -> str:
    inner = innermost(function)
    return f"{inner.__module__}.{inner.__qualname__}"


def innermost(function: Any) -> Any:
    """The function that was written with `def`, in a partial, a decorator's wrapper, a method or an
    object that can be called: its module has the names of its annotations."""
    if isinstance(function, functools.partial):
        return innermost(function.func)
    if isinstance(function, staticmethod | classmethod):
        return innermost(function.__func__)
    if hasattr(function, "__wrapped__"):
        return innermost(function.__wrapped__)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return innermost(type(function).__call__)


def _reasons(error: Any, *, show_words: bool) -> list[str]:
    """One line per misfit. The words of a validator of one's own may repeat the value; pydantic's
    code for the error (`value_error`) never does."""
    told = "msg" if show_words else "type"
    return [
        f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem[told]}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
