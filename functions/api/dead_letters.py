"""`/api/admin/dead-letters`: what is in QStash's dead-letter queue, and deleting it there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from functions.api.auth import Guarded, needs
from functions.api.errors import WITH_TOKEN, refusals
from functions.api.job_schemas import Counted
from functions.api.schema import Given, Wire, example
from stashjobs.operators import dead_letters
from stashjobs.store.executions import Status

router = APIRouter(
    prefix="/api/admin/dead-letters",
    tags=["dead letters"],
    route_class=Guarded,
    responses=refusals(*WITH_TOKEN),
)


class DeadLetter(Wire):
    """A message that QStash will not deliver any more. `jobId` is null where it is no job's,
    `status` is the job's as it is now, `answer` that of the last delivery."""

    dlq_id: str
    message_id: str
    job_id: str | None
    job_type: str | None
    status: Status | None
    answer: int | None
    sent_at: datetime


class DeadLetters(Wire):
    """Those of this stage among the newest thousand of the account, and a sentence about them."""

    model_config = example(
        {
            "summary": "1 message in QStash's dead-letter queue, of 1 job: 1 failed",
            "deadLetters": [
                {
                    "dlqId": "1725323658779-0",
                    "messageId": "msg_1",
                    "jobId": "0190f1c2",
                    "jobType": "send-email",
                    "status": "failed",
                    "answer": 489,
                    "sentAt": "2030-01-31T09:00:00Z",
                }
            ],
        }
    )

    summary: str
    dead_letters: list[DeadLetter]


class Chosen(Wire):
    """Which to delete: their ids; null, all of this stage."""

    model_config = example({"dlqIds": ["1725323658779-0"]})

    dlq_ids: Annotated[list[Given], Field(min_length=1, max_length=1_000)] | None


@router.get("")
def list_dead_letters(_actor: Annotated[str, needs("read")]) -> DeadLetters:
    """List this stage's dead letters, the newest first."""
    found = dead_letters.list_all()
    shown = [
        DeadLetter.model_validate({name: getattr(each, name) for name in DeadLetter.model_fields})
        for each in found
    ]
    return DeadLetters(summary=dead_letters.summary(found), dead_letters=shown)


@router.post("/delete", responses=refusals(409, 415))
def delete_dead_letters(which: Chosen, actor: Annotated[str, needs("operate")]) -> Counted:
    """Delete dead letters at QStash. Their jobs stay as they are."""
    if which.dlq_ids is None:
        count = dead_letters.delete_all(actor=actor)
    else:
        count = dead_letters.delete(which.dlq_ids, actor=actor)
    return Counted(count=count, dry_run=False)
