"""The usual way: FastAPI behind Mangum, QStash's own Receiver, psycopg, one connection kept.

The same promise as far as that is usual: a row is claimed by an upsert, the job is run, the row is
completed. It writes one line of the standard library's log. psycopg has its own settings: from the
sixth execution on the server keeps the statements' plans; with `planned` it plans them each time.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import psycopg
from fastapi import FastAPI, HTTPException, Request
from mangum import Mangum
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from qstash import Receiver
from qstash.errors import SignatureError

from benchmarks.contenders.cold.statements import COMPLETE_UNFENCED, UPSERT

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
log = logging.getLogger("app")
PATH = "/api/jobs/measured"


class Measured(BaseModel):
    to: str
    count: int
    tags: list[str]


class Message(BaseModel):
    jobId: str  # noqa: N815 - the wire's name
    type: str
    payload: Measured


class Ran(BaseModel):
    jobId: str  # noqa: N815
    status: str


app = FastAPI()
receiver = Receiver(
    current_signing_key=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    next_signing_key=os.environ["QSTASH_NEXT_SIGNING_KEY"],
)
_connection: psycopg.Connection[Any] | None = None


def connection() -> psycopg.Connection[Any]:
    global _connection  # noqa: PLW0603 - what a Lambda's module keeps between invocations
    if _connection is None or _connection.closed:
        _connection = psycopg.connect(
            os.environ["POSTGRES_URL"],
            autocommit=True,
            prepare_threshold=None if "planned" in sys.argv else 5,
        )
    return _connection


@app.post(PATH)
async def run(request: Request) -> Ran:
    body = (await request.body()).decode()
    try:
        receiver.verify(
            signature=request.headers.get("upstash-signature", ""), body=body, url=str(request.url)
        )
    except SignatureError:
        raise HTTPException(401) from None
    message = Message.model_validate_json(body)
    payload = message.payload
    claimed = (
        connection()
        .execute(UPSERT, [message.jobId, message.type, Jsonb(payload.model_dump())])
        .fetchone()
    )
    if claimed is None:
        return Ran(jobId=message.jobId, status="duplicate")
    result = {"count": payload.count, "attempt": claimed[0]}
    connection().execute(COMPLETE_UNFENCED, [Jsonb(result), message.jobId])
    log.info("completed %s", message.jobId)
    return Ran(jobId=message.jobId, status="completed")


handler = Mangum(app, lifespan="off")


def main() -> None:
    from benchmarks.contenders import deliveries, rounds

    key, context = os.environ["QSTASH_CURRENT_SIGNING_KEY"], deliveries.LambdaContext()

    def prepare(count: int) -> list[object]:
        return [
            deliveries.event(
                {"jobId": job_id, "type": deliveries.JOB_TYPE, "payload": deliveries.PAYLOAD}, key
            )
            for job_id in deliveries.add_jobs(connection(), count)
        ]

    rounds.serve(
        prepare,
        lambda event: handler(event, context),  # type: ignore[arg-type]
        ok=lambda answer: (
            answer["statusCode"] == 200 and json.loads(answer["body"])["status"] == "completed"
        ),
    )


if __name__ == "__main__":
    main()
