"""`/api/admin/types`: pause, resume and limit a job type at run time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from functions.api.auth import Connected, Guarded, needs
from functions.api.errors import WITH_TOKEN, misfit, refusals
from functions.api.schema import JSON_NUMBER, Nothing, Wire, example
from stashjobs.operators import job_types

if TYPE_CHECKING:
    from stashjobs.store.job_types import TypeState

router = APIRouter(
    prefix="/api/admin/types",
    tags=["types"],
    route_class=Guarded,
    responses=refusals(*WITH_TOKEN),
)
Name = Annotated[str, Path(description="The job type.", examples=["send-email"])]
Number = Annotated[int, Field(ge=1, le=1_000_000), JSON_NUMBER]


class State(Wire):
    """What operators asked of a job type. Null: what the code declares counts.

    `appliedAt` is null until QStash has taken it over, which the relay sees to.
    """

    model_config = example(
        {
            "type": "send-email",
            "paused": True,
            "rate": 10,
            "periodSeconds": 60,
            "parallelism": None,
            "changedBy": "ada",
            "changedAt": "2030-01-31T09:00:00Z",
            "appliedAt": "2030-01-31T09:00:01Z",
        }
    )

    type: str
    paused: bool
    rate: int | None
    period_seconds: int | None
    parallelism: int | None
    changed_by: str
    changed_at: datetime
    applied_at: datetime | None


class States(Wire):
    """Every type that was ever paused or limited, by name."""

    types: list[State]


class Limit(Wire):
    """At most `rate` deliveries in a `period` (`10s`, `1m`, up to `7d`), and at most `parallelism`
    at once. Both null lift the limit."""

    model_config = example({"rate": 10, "period": "1m"})

    rate: Number | None = None
    period: str = "1s"
    parallelism: Number | None = None


@router.get("")
def list_type_states(_actor: Annotated[str, needs("read")], own: Connected) -> States:
    """List what is paused and limited."""
    return States(types=[_shown(state) for state in job_types.read(own).values()])


@router.post("/{name}/pause", responses=refusals(404, 415))
def pause_type(
    name: Name, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> State:
    """Have no new attempt of a type begin until it is resumed. What runs goes on."""
    return _shown(job_types.pause(name, actor=actor))


@router.post("/{name}/resume", responses=refusals(404, 415))
def resume_type(
    name: Name, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> State:
    """Have a paused type delivered again."""
    return _shown(job_types.resume(name, actor=actor))


@router.post("/{name}/limit", responses=refusals(404, 415))
def limit_type(name: Name, actor: Annotated[str, needs("operate")], how: Limit) -> State:
    """Limit the deliveries of a type, over deploys too, until the limit is lifted."""
    if how.rate is None and how.parallelism is None:
        return _shown(job_types.lift_limit(name, actor=actor))
    try:
        job_types.period_seconds(how.period)
    except ValueError as error:
        raise misfit("body", "period", str(error)) from error
    state = job_types.limit(
        name, actor=actor, rate=how.rate, period=how.period, parallelism=how.parallelism
    )
    return _shown(state)


def _shown(state: TypeState) -> State:
    return State(
        type=state.job_type,
        paused=state.paused,
        rate=state.rate,
        period_seconds=state.period_seconds,
        parallelism=state.parallelism,
        changed_by=state.changed_by,
        changed_at=state.changed_at,
        applied_at=state.applied_at,
    )
