"""`@job`: what a job type is, and the registry of the types that this process knows."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import typing
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from stashjobs.config import settings
from stashjobs.errors import InvalidPayload, UnknownJobType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

    from stashjobs.delivery.context import Context
    from stashjobs.producer.dispatcher import Enqueued
    from stashjobs.producer.schedules import Schedule

Payload = TypeVar("Payload")
Result = TypeVar("Result")

# Who may enqueue a type over HTTP, the widest first (docs/api.md, "Access").
ENQUEUED_BY = ("apps", "operators", "system")
_TYPE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NO_EXAMPLE = (
    'its model gives no example; give it model_config = {"json_schema_extra": {"examples": [...]}}'
)
# `json.dumps` would make an encoder for every value.
_encode = json.JSONEncoder(allow_nan=False).encode
_registry: dict[str, Job[Any, Any]] = {}


class Job(Generic[Payload, Result]):
    """A job type: its function, and how QStash is to deliver it. Made by `@job`.

    Call it to run the function directly (in a test, say); `enqueue` it to run it in the
    background; give its `handler` to Lambda.
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
        rate: int | None,
        parallelism: int | None,
        encrypted: bool = False,
        retention: int | None = None,
        enqueued_by: str = "apps",
    ) -> None:
        self.function = function
        self.type = type
        self.endpoint = endpoint
        self.retries = retries
        self.timeout = timeout
        self.retry_delay = retry_delay
        self.rate = rate
        self.parallelism = parallelism
        self.encrypted = encrypted
        self.retention = retention
        self.enqueued_by = enqueued_by
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Job {self.type} at {self.endpoint}>"

    def __call__(self, payload: Payload, context: Context) -> Result:
        return self.function(payload, context)

    @property
    def handler(self) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
        """The Lambda handler: one delivery of this job type (`stashjobs.delivery.handler`). Its
        own Lambda asks for it while it is initialised, and what every delivery needs is
        imported at once; elsewhere with the first delivery."""
        if settings.is_lambda_of(_innermost(self.function).__module__):
            from stashjobs.delivery import handler as worker

            worker.prepare()
        return self._deliver

    def _deliver(self, event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
        from stashjobs.delivery import handler as worker

        return worker.deliver(self, event, lambda_context)

    def enqueue(
        self,
        payload: Payload | Mapping[str, Any],
        *,
        user_id: str | None = None,
        organization_id: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        idempotency_key: str | None = None,
        retries: int | None = None,
        headers: Mapping[str, str] | None = None,
        callback: str | None = None,
        failure_callback: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        encrypted: bool | None = None,
        connection: Connection[Any] | None = None,
    ) -> Enqueued:
        """Record a job and have QStash deliver it.

        The row is written first; once this returns, the job is run to an end or is visible as
        `failed`. Where QStash cannot be reached the job is recorded all the same.

        Args:
            payload: The job's payload, as its model or as the JSON object the model reads.
            user_id: For whom, to be found by.
            organization_id: Likewise.
            delay: Deliver after so many seconds. Not together with `at`.
            at: Deliver at this time (an aware datetime). Not together with `delay`.
            idempotency_key: Where a job of this type has this key already, nothing is enqueued and
                that job's id is the answer.
            retries: How often to try again after a failed attempt, in place of the type's own.
            headers: Forwarded with the delivery.
            callback: A URL that QStash calls with the answer of every attempt.
            failure_callback: A URL that QStash calls when it gives up.
            metadata: Kept on the row beside the payload, never interpreted, never sealed.
            encrypted: Seal the payload and what comes of it, also where the type does not say so.
            connection: The row joins this connection's transaction: rolled back, it never was.
                Call `publish()` on the answer after the commit, or leave that to the relay.

        Raises:
            InvalidPayload: Before anything is written.
            PayloadTooLarge: Before anything is written.
            ValueError: An option makes no sense; before anything is written.
            SettingError: A setting is missing; before anything is written.
            psycopg.Error: The row could not be written, so there is no job. Only where the
                connection broke in that moment there may be one; with an `idempotency_key` it is
                safe to enqueue again.
        """
        from stashjobs.producer import dispatcher

        options = dispatcher.Options(
            user_id=user_id,
            organization_id=organization_id,
            delay=delay,
            at=at,
            idempotency_key=idempotency_key,
            retries=retries,
            headers=headers or {},
            callback=callback,
            failure_callback=failure_callback,
            metadata=metadata or {},
            encrypted=encrypted,
        )
        return dispatcher.enqueue(self, payload, options, connection)

    async def enqueue_async(
        self,
        payload: Payload | Mapping[str, Any],
        *,
        connection: AsyncConnection[Any],
        user_id: str | None = None,
        organization_id: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        idempotency_key: str | None = None,
        retries: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        encrypted: bool | None = None,
    ) -> Enqueued:
        """`enqueue` on the caller's async connection, within its transaction."""
        from stashjobs.producer import dispatcher

        options = dispatcher.Options(
            user_id=user_id,
            organization_id=organization_id,
            delay=delay,
            at=at,
            idempotency_key=idempotency_key,
            retries=retries,
            metadata=metadata or {},
            encrypted=encrypted,
        )
        return await dispatcher.enqueue_async(self, payload, options, connection)

    def enqueue_many(
        self,
        payloads: Iterable[Payload | Mapping[str, Any]],
        *,
        user_id: str | None = None,
        organization_id: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        retries: int | None = None,
        encrypted: bool | None = None,
        connection: Connection[Any] | None = None,
    ) -> list[Enqueued]:
        """Record many jobs in one INSERT and have QStash deliver them, in as few calls as it takes.
        All of them or, where one payload is invalid, none."""
        from stashjobs.producer import dispatcher

        options = dispatcher.Options(
            user_id=user_id,
            organization_id=organization_id,
            delay=delay,
            at=at,
            retries=retries,
            encrypted=encrypted,
        )
        return dispatcher.enqueue_many(self, payloads, options, connection)

    def schedule(
        self,
        cron: str,
        payload: Payload | Mapping[str, Any],
        *,
        name: str,
        timezone: str = "UTC",
    ) -> Schedule:
        """Declare that this job is to be enqueued again and again; `stashjobs schedules sync`
        brings it to QStash.

        Args:
            cron: Five fields: `"0 3 * * *"` is every day at three.
            payload: The same at each firing. It passes through QStash.
            name: The schedule's own, unique in the project.
            timezone: Whose clock, as an IANA name.

        Raises:
            InvalidPayload: It does not fit.
            ValueError: Another argument makes no sense.
        """
        from stashjobs.producer import schedules

        document = self.dump_payload(payload)
        return schedules.declare(schedules.Schedule(name, self, cron, timezone, document))

    @cached_property
    def payload_type(self) -> Any:
        """The annotation of the function's first parameter, `Any` where it has none."""
        first = next(iter(inspect.signature(self.function).parameters.values()), None)
        if first is None or first.annotation is inspect.Parameter.empty:
            return Any
        # Only this one is resolved: a handler may import its Context for the type checker alone.
        alone = SimpleNamespace(__annotations__={"payload": first.annotation})
        names = getattr(_innermost(self.function), "__globals__", {})
        return typing.get_type_hints(alone, names, include_extras=True)["payload"]

    def read_payload(self, document: Any) -> Payload:
        """The payload as the job's function takes it, from plain JSON; read as JSON, so that a
        strict model gets its dates and tuples.

        Raises:
            InvalidPayload: It does not fit. The reasons name fields, never values.
        """
        if self._adapter is None:
            return typing.cast("Payload", document)
        from pydantic import ValidationError

        try:
            return typing.cast("Payload", self._adapter.validate_json(json.dumps(document)))
        except ValidationError as error:
            raise InvalidPayload(
                self.type, _reasons(error, show_words=not self.encrypted)
            ) from None

    def dump_payload(self, payload: Payload | Mapping[str, Any]) -> Any:
        """The payload as plain JSON, proven to be read back by `read_payload` as the same.

        Raises:
            InvalidPayload: It does not fit, cannot be JSON, or loses something on the way (a
                `SecretStr` is written as asterisks, an excluded field not at all).
        """
        document = self._to_json(payload)
        if self._adapter is None:
            return document
        read = self.read_payload(document)
        written = self._to_json(read)
        given = payload if type(payload) is type(read) else read  # else it was not read yet
        if self.read_payload(written) != given:
            reason = "written as JSON and read back it is not the same (SecretStr? exclude=True?)"
            raise InvalidPayload(self.type, [reason])
        return written

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

    def _to_json(self, payload: Any) -> Any:
        try:
            return to_json(payload)
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


def job(
    type: str,  # noqa: A002
    *,
    endpoint: str,
    retries: int = 3,
    timeout: float = 30,
    retry_delay: str | None = None,
    rate: int | None = None,
    parallelism: int | None = None,
    encrypted: bool = False,
    retention: int | None = None,
    enqueued_by: Literal["apps", "operators", "system"] = "apps",
) -> Callable[[Callable[[Payload, Context], Result]], Job[Payload, Result]]:
    """Declare a job type.

    Args:
        type: Its name on the wire, in rows and in logs: lower case, with hyphens.
        endpoint: Its route, as in template.yaml: `/api/jobs/email`.
        retries: How often to try again after a failed attempt.
        timeout: How long one attempt may take, in seconds.
        retry_delay: QStash's expression for the wait between attempts, in milliseconds
            (`"pow(2, retried) * 1000"`); QStash's own backoff where it is None.
        rate: At most so many deliveries a second.
        parallelism: At most so many deliveries at once; no more than its function has processes, or
            Lambda turns the others away (docs/connections.md).
        encrypted: Its payloads and results are sealed, always (docs/sealed-payloads.md).
        retention: For how many days its ended jobs are kept, before the clean-up moves them to the
            archive; the clean-up's own default where it is None (docs/cleanup.md).
        enqueued_by: Who may enqueue it over HTTP. `apps`: every token with the scope `enqueue`.
            `operators`: a token whose scope names the type (`enqueue:export-data`), or that has
            `operate` too; for what reads others' data or deletes. `system`: no token; for what
            stands for a verified sender. Python code that has the database is not asked.

    Raises:
        ValueError: An argument makes no sense, or another function has this type already.
    """
    if not _TYPE_NAME.fullmatch(type):
        raise ValueError(f"job type {type!r}: use lower case words joined by hyphens (send-email)")
    if not endpoint.startswith("/"):
        raise ValueError(f"{type}: endpoint {endpoint!r} must start with a slash")
    if retries < 0:
        raise ValueError(f"{type}: retries is {retries}, it must be 0 or more")
    if not 0 < timeout <= 890:
        # Lambda's own limit is 900 seconds; the attempt's end must still be recorded.
        raise ValueError(f"{type}: timeout is {timeout} s, it must be over 0 and at most 890")

    if retention is not None and retention < 1:
        raise ValueError(f"{type}: retention is {retention} days, it must be 1 or more")
    if enqueued_by not in ENQUEUED_BY:
        raise ValueError(
            f"{type}: enqueued_by is {enqueued_by!r}, it must be one of {', '.join(ENQUEUED_BY)}"
        )

    _refuse_less_than_one(type, parallelism=parallelism, rate=rate)

    def declare(function: Callable[[Payload, Context], Result]) -> Job[Payload, Result]:
        _refuse_what_cannot_run(type, function)
        declared = Job(
            function,
            type=type,
            endpoint=endpoint,
            retries=retries,
            timeout=timeout,
            retry_delay=retry_delay,
            rate=rate,
            parallelism=parallelism,
            encrypted=encrypted,
            retention=retention,
            enqueued_by=enqueued_by,
        )
        other = _registry.get(type)
        if other is not None and _name(other.function) != _name(function):
            raise ValueError(
                f"job type {type!r} is declared twice: "
                f"by {_name(other.function)} and by {_name(function)}"
            )
        _registry[type] = declared
        return declared

    return declare


def find(job_type: str) -> Job[Any, Any]:
    """The job of a type that is declared in this process.

    Raises:
        UnknownJobType: There is none; the message lists those there are.
    """
    try:
        return _registry[job_type]
    except KeyError:
        known = ", ".join(sorted(_registry)) or "none"
        raise UnknownJobType(
            f"unknown job type {job_type!r}; declared here: {known} "
            "(a type is looked for in functions/*/handler.py, beside an __init__.py)"
        ) from None


def declared() -> list[Job[Any, Any]]:
    """Every job type that this process knows, by name."""
    return [_registry[name] for name in sorted(_registry)]


def load(package: str = "functions") -> list[Job[Any, Any]]:
    """Import the handler of every function in `package`, and so declare all its job types."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{module.name}.handler"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    return declared()


def to_json(value: Any) -> Any:
    """`value` as plain JSON: models, dataclasses, dates and the like by pydantic's rules and with
    their aliases.

    Raises:
        TypeError | ValueError: It cannot be JSON (NaN, say, or an open file).
    """
    try:
        return json.loads(_encode(value))
    except TypeError:
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants")


def _name(function: Callable[..., Any]) -> str:
    inner = _innermost(function)
    return f"{inner.__module__}.{inner.__qualname__}"


def _innermost(function: Any) -> Any:
    """The function that was written with `def`, in a partial, a decorator's wrapper, a method or an
    object that can be called: its module has the names of its annotations."""
    if isinstance(function, functools.partial):
        return _innermost(function.func)
    if isinstance(function, staticmethod | classmethod):
        return _innermost(function.__func__)
    if hasattr(function, "__wrapped__"):
        return _innermost(function.__wrapped__)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return _innermost(type(function).__call__)


def _refuse_less_than_one(type: str, **options: int | None) -> None:  # noqa: A002
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{type}: {name} is {value}, it must be 1 or more")


def _refuse_what_cannot_run(type: str, function: Callable[..., Any]) -> None:  # noqa: A002
    inner = _innermost(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ValueError(f"{type}: its function is a generator, of which nothing would be run")
    try:
        inspect.signature(function).bind("payload", "context")
    except TypeError:
        raise ValueError(
            f"{type}: its function must take two arguments, a payload and a context"
        ) from None


def _reasons(error: Any, *, show_words: bool) -> list[str]:
    """One line per misfit. The words of a validator of one's own may repeat the value; pydantic's
    code for the error (`value_error`) never does."""
    told = "msg" if show_words else "type"
    return [
        f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem[told]}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
