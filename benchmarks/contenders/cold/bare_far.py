"""As `bare`, with what a stage far away asks for: its secret is read, and the connection is made,
while the function is initialised."""

import http.client
import json
import os
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.types.json import Jsonb
from statements import CLAIM, COMPLETE


def secret() -> dict[str, str]:
    """The stage's settings, by an unsigned call."""
    url = urlsplit(os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"])
    connection = http.client.HTTPConnection(url.netloc)
    body = json.dumps({"SecretId": os.environ["SETTINGS_SECRET"]})
    connection.request("POST", "/", body, {"X-Amz-Target": "secretsmanager.GetSecretValue"})
    settings: dict[str, str] = json.loads(
        json.loads(connection.getresponse().read())["SecretString"]
    )
    return settings


connection = psycopg.connect(secret()["POSTGRES_URL"], autocommit=True)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    job_id = json.loads(event["body"])["jobId"]
    [(_payload, attempt)] = connection.execute(CLAIM, [job_id]).fetchall()
    connection.execute(COMPLETE, [Jsonb(None), job_id, attempt])
    return {"statusCode": 200, "body": json.dumps({"jobId": job_id, "status": "completed"})}
