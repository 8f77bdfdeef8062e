"""What every delivery must do, by psycopg alone: connect, claim, complete. No signature, no log."""

import json
import os
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

CLAIM = """
UPDATE job_executions SET status = 'processing', attempt = attempt + 1, started_at = now(),
       lease_expires_at = now() + interval '40 s', updated_at = now()
 WHERE job_id = %s AND status IN ('pending', 'retrying')
RETURNING payload, attempt
"""
COMPLETE = """
UPDATE job_executions SET status = 'completed', result = %s, lease_expires_at = NULL,
       completed_at = now(), updated_at = now()
 WHERE job_id = %s AND attempt = %s AND status = 'processing'
"""
kept: list[psycopg.Connection[Any]] = []


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    if not kept:
        url = os.environ["POSTGRES_URL"]
        kept.append(psycopg.connect(url, autocommit=True, prepare_threshold=None))
    job_id = json.loads(event["body"])["jobId"]
    [(_payload, attempt)] = kept[0].execute(CLAIM, [job_id]).fetchall()
    kept[0].execute(COMPLETE, [Jsonb(None), job_id, attempt])
    return {"statusCode": 200, "body": json.dumps({"jobId": job_id, "status": "completed"})}
