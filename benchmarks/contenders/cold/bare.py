"""What every delivery must do, by psycopg alone: connect, claim, complete. No signature, no log."""

import json
import os
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from statements import CLAIM, COMPLETE

kept: list[psycopg.Connection[Any]] = []


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if not kept:
        url = os.environ["POSTGRES_URL"]
        kept.append(psycopg.connect(url, autocommit=True))
    job_id = json.loads(event["body"])["jobId"]
    [(_payload, attempt)] = kept[0].execute(CLAIM, [job_id]).fetchall()
    kept[0].execute(COMPLETE, [Jsonb(None), job_id, attempt])
    return {"statusCode": 200, "body": json.dumps({"jobId": job_id, "status": "completed"})}
