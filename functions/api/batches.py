"""`/api/admin/batches`: how batches stand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Path, Query

from functions.api.auth import Connected, Guarded, needs
from functions.api.errors import WITH_TOKEN, refusals
from functions.api.schema import Text, Wire, example
from stashjobs.store import batches
from stashjobs.store.executions import Status

if TYPE_CHECKING:
    from stashjobs.store.batches import BatchState

MAX_BATCHES = 200

router = APIRouter(
    prefix="/api/admin/batches",
    tags=["batches"],
    route_class=Guarded,
    responses=refusals(*WITH_TOKEN),
)


class ShownBatch(Wire):
    """How a batch stands: how many of its jobs have completed (`done`), failed or were cancelled
    (`failed`), or have not ended (`waiting`). `onEnded` is the status of the job that runs when
    all have ended, which has the batch's id; null where there is none."""

    model_config = example(
        {
            "batchId": "0190f1c2",
            "name": "import",
            "createdAt": "2030-01-31T09:00:00Z",
            "done": 2,
            "failed": 1,
            "waiting": 0,
            "onEnded": "completed",
        }
    )

    batch_id: str
    name: str
    created_at: datetime
    done: int
    failed: int
    waiting: int
    on_ended: Status | None


class Batches(Wire):
    """The newest batches."""

    batches: list[ShownBatch]


@router.get("")
def list_batches(
    _actor: Annotated[str, needs("read")],
    own: Connected,
    limit: Annotated[int, Query(ge=1, le=MAX_BATCHES)] = 20,
) -> Batches:
    """The newest batches, with how many of their jobs are done. `GET /api/jobs?batchId=` lists a
    batch's jobs; `POST /api/admin/jobs/retry` and `cancel` take `batchId` too."""
    return Batches(batches=[_shown(one) for one in batches.newest(own, limit=limit)])


@router.get("/{batch_id:path}", responses=refusals(404))
def show_batch(
    batch_id: Annotated[Text, Path(description="The batch.", examples=["0190f1c2"])],
    _actor: Annotated[str, needs("read")],
    own: Connected,
) -> ShownBatch:
    """One batch."""
    found = batches.find(own, batch_id)
    if found is None:
        raise HTTPException(404, f"there is no batch {batch_id}")
    return _shown(found)


def _shown(batch: BatchState) -> ShownBatch:
    return ShownBatch.model_validate(
        {field: getattr(batch, field) for field in ShownBatch.model_fields}
    )
