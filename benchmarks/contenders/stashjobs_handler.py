"""A job of stashjobs: its Lambda handler, called with events of API Gateway."""

from __future__ import annotations

import os

import psycopg
from pydantic import BaseModel

from benchmarks.contenders import deliveries, rounds
from stashjobs import Context, job


class Measured(BaseModel):
    to: str
    count: int
    tags: list[str]


@job(deliveries.JOB_TYPE, endpoint=deliveries.PATH)
def measured(payload: Measured, context: Context) -> dict[str, object]:
    return {"count": payload.count, "attempt": context.attempt}


def main() -> None:
    connection = psycopg.connect(os.environ["POSTGRES_URL"], autocommit=True)
    key, context = os.environ["QSTASH_CURRENT_SIGNING_KEY"], deliveries.LambdaContext()

    def prepare(count: int) -> list[object]:
        return [
            deliveries.event({"jobId": job_id, "type": deliveries.JOB_TYPE}, key)
            for job_id in deliveries.add_jobs(connection, count)
        ]

    rounds.serve(
        prepare,
        lambda event: measured.handler(event, context),
        ok=lambda answer: answer["statusCode"] == 200 and '"completed"' in answer["body"],
    )


if __name__ == "__main__":
    main()
