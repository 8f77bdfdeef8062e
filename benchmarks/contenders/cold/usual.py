"""The usual way to send an email from a delivery, all in one function."""

import html
import logging
import os

import psycopg
import resend
from fastapi import FastAPI, HTTPException, Request
from mangum import Mangum
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from qstash import Receiver
from qstash.errors import SignatureError
from statements import COMPLETE_UNFENCED, UPSERT

log = logging.getLogger("app")


class Email(BaseModel):
    to: str
    template: str
    data: dict[str, str]


class Message(BaseModel):
    jobId: str  # noqa: N815 - the wire's name
    type: str
    payload: Email


class Sent(BaseModel):
    jobId: str  # noqa: N815
    status: str
    emailId: str  # noqa: N815


app = FastAPI()
receiver = Receiver(
    current_signing_key=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    next_signing_key=os.environ["QSTASH_NEXT_SIGNING_KEY"],
)
resend.api_key = os.environ["RESEND_API_KEY"]
resend.api_url = os.environ["RESEND_API_URL"]
connection = psycopg.connect(os.environ["POSTGRES_URL"], autocommit=True)


@app.post("/api/jobs/email")
async def send(request: Request) -> Sent:
    body = (await request.body()).decode()
    signature = request.headers.get("upstash-signature", "")
    try:
        receiver.verify(signature=signature, body=body, url=str(request.url))
    except SignatureError:
        raise HTTPException(401) from None
    message = Message.model_validate_json(body)
    email = message.payload
    connection.execute(UPSERT, [message.jobId, message.type, Jsonb(email.model_dump())])
    name = email.data["name"]
    sent = resend.Emails.send(
        {
            "from": os.environ["RESEND_FROM_EMAIL"],
            "to": [email.to],
            "subject": "Welcome",
            "html": f"<h1>Welcome, {html.escape(name)}</h1><p>Good to have you here.</p>",
            "text": f"Welcome, {name}. Good to have you here.",
        },
        {"idempotency_key": message.jobId},
    )
    connection.execute(COMPLETE_UNFENCED, [Jsonb({"emailId": sent["id"]}), message.jobId])
    log.info("sent %s", message.jobId)
    return Sent(jobId=message.jobId, status="completed", emailId=sent["id"])


handler = Mangum(app, lifespan="off")
