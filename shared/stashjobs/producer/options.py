"""The options of an enqueue, and the check of their types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from uuid import UUID

if TYPE_CHECKING:
    from typing import Self

    from stashjobs.producer.batch import Batch
    from stashjobs.producer.enqueue import Enqueued


class EnqueueOptions(TypedDict, total=False):
    """The options of `Job.enqueue`, `enqueue_many` and `enqueue_async`; `Job.enqueue` says what
    each does. None is as if it were left out."""

    user_id: str | int | UUID | None
    organization_id: str | int | UUID | None
    delay: float | None
    at: datetime | None
    idempotency_key: str | int | UUID | None
    retries: int | None
    headers: Mapping[str, str] | None
    callback: str | None
    failure_callback: str | None
    metadata: Mapping[str, Any] | None
    encrypted: bool | None
    after: Sequence[str | UUID | Enqueued] | None
    when: Literal["completed", "ended"] | None
    unique: str | int | UUID | Sequence[str] | None
    unique_while: Literal["waiting", "running"] | None
    replace: bool | None
    debounce: float | None
    max_wait: float | None
    expires: float | timedelta | datetime | None
    batch: str | UUID | Batch | None


_KINDS: dict[str, tuple[type, ...]] = {
    "user_id": (str, int, UUID),
    "organization_id": (str, int, UUID),
    "delay": (int, float),
    "at": (datetime,),
    "idempotency_key": (str, int, UUID),
    "retries": (int,),
    "headers": (Mapping,),
    "callback": (str,),
    "failure_callback": (str,),
    "metadata": (Mapping,),
    "encrypted": (bool,),
    "after": (list, tuple),
    "when": (str,),
    "unique": (str, int, UUID, list, tuple),
    "unique_while": (str,),
    "replace": (bool,),
    "debounce": (int, float),
    "max_wait": (int, float),
    "expires": (int, float, timedelta, datetime),
    "batch": (str, UUID),
}
_KEPT_AS_TEXT = ("user_id", "organization_id", "idempotency_key", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options whose types are right. Ids are text."""

    user_id: str | None = None
    organization_id: str | None = None
    delay: float | None = None
    at: datetime | None = None
    idempotency_key: str | None = None
    retries: int | None = None
    headers: Mapping[str, str] | None = None
    callback: str | None = None
    failure_callback: str | None = None
    metadata: Mapping[str, Any] | None = None
    encrypted: bool | None = None
    after: Sequence[str] | None = None
    when: str | None = None
    unique: str | int | UUID | Sequence[str] | None = None
    unique_while: str | None = None
    replace: bool | None = None
    debounce: float | None = None
    max_wait: float | None = None
    expires: float | timedelta | datetime | None = None
    batch: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options that were given.

        Raises:
            TypeError: There is no such option, or its value has another type. The option is named.
        """
        if hasattr(given.get("batch"), "batch_id"):
            given = {**given, "batch": given["batch"].batch_id}
        for name, value in given.items():
            if name not in _KINDS:
                raise TypeError(f"there is no option {name}; there are {', '.join(_KINDS)}")
            kinds = _KINDS[name]
            # True is an int, and never meant as one.
            is_right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
            if not (value is None or is_right):
                wanted = " or ".join(kind.__name__ for kind in (*kinds, NoneType))
                raise TypeError(f"{name} is of the type {type(value).__name__}; give {wanted}")
        for name, value in (given.get("headers") or {}).items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise TypeError(f"headers: the name and the value of {name!r} must be str")
        ids: dict[str, Any] = {
            name: str(given[name]) for name in _KEPT_AS_TEXT if given.get(name) is not None
        }
        if given.get("after") is not None:
            ids["after"] = _ids_of(given["after"])
        return cls(**{**given, **ids})


def _ids_of(jobs: Iterable[Any]) -> list[str]:
    ids = []
    for each in jobs:
        job_id = getattr(each, "job_id", each)
        if not isinstance(job_id, str | UUID):
            raise TypeError(
                f"after: {type(each).__name__} is no job; give ids, or what enqueue returned"
            )
        ids.append(str(job_id))
    return ids
