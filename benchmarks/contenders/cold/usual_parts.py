"""What both usual ways share: FastAPI, QStash's Receiver, one connection, Resend's SDK."""

import os

import psycopg
import resend
from fastapi import FastAPI, HTTPException, Request
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from qstash import Receiver
from qstash.errors import SignatureError
from statements import COMPLETE_UNFENCED, UPSERT

app = FastAPI()
receiver = Receiver(
    current_signing_key=os.environ["QSTASH_CURRENT_SIGNING_KEY"],
    next_signing_key=os.environ["QSTASH_NEXT_SIGNING_KEY"],
)
resend.api_key = os.environ["RESEND_API_KEY"]
resend.api_url = os.environ["RESEND_API_URL"]
connection = psycopg.connect(os.environ["POSTGRES_URL"], autocommit=True)


class Sent(BaseModel):
    jobId: str  # noqa: N815 - the wire's name
    status: str
    emailId: str  # noqa: N815


async def verified(request: Request) -> str:
    """The body that QStash has signed."""
    body = (await request.body()).decode()
    signature = request.headers.get("upstash-signature", "")
    try:
        receiver.verify(signature=signature, body=body, url=str(request.url))
    except SignatureError:
        raise HTTPException(401) from None
    return body


def claim(job_id: str, job_type: str, payload: BaseModel) -> None:
    connection.execute(UPSERT, [job_id, job_type, Jsonb(payload.model_dump())])


def send(job_id: str, to: str, subject: str, html: str, text: str) -> Sent:
    """Send the email, and complete the job."""
    sent = resend.Emails.send(
        {
            "from": os.environ["RESEND_FROM_EMAIL"],
            "to": [to],
            "subject": subject,
            "html": html,
            "text": text,
        },
        {"idempotency_key": job_id},
    )
    connection.execute(COMPLETE_UNFENCED, [Jsonb({"emailId": sent["id"]}), job_id])
    return Sent(jobId=job_id, status="completed", emailId=sent["id"])
