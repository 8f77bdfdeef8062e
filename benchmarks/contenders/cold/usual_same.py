"""The usual way, as in `usual`, doing the same work as send-email: its template by Jinja, for HTML,
text and subject, and a line of Powertools' logger."""

import os

import psycopg
import resend
from aws_lambda_powertools import Logger
from fastapi import FastAPI, HTTPException, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from mangum import Mangum
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from qstash import Receiver
from qstash.errors import SignatureError
from statements import COMPLETE_UNFENCED, UPSERT

log = Logger(service="app")


class Data(BaseModel):
    name: str
    getStartedUrl: str  # noqa: N815 - the wire's name

    @property
    def get_started_url(self) -> str:
        return self.getStartedUrl


class Email(BaseModel):
    to: str
    template: str
    data: Data


class Message(BaseModel):
    jobId: str  # noqa: N815
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
templates = Environment(
    loader=FileSystemLoader(os.environ["TEMPLATES"]),
    autoescape=select_autoescape(["html"], default_for_string=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What the other templates need, which this one imports along.
templates.filters.update(money=str, date=str, date_time=str, interval=str)
BRAND = {"name": "Acme", "url": "", "support_email": "", "logo_url": ""}


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
    values = {"brand": BRAND, "data": email.data, "template": email.template}
    subject = templates.from_string("Welcome to {{ brand.name }}, {{ data.name }}").render(values)
    values["subject"] = subject
    sent = resend.Emails.send(
        {
            "from": os.environ["RESEND_FROM_EMAIL"],
            "to": [email.to],
            "subject": subject,
            "html": templates.get_template(f"{email.template}.html").render(values),
            "text": templates.get_template(f"{email.template}.txt").render(values),
        },
        {"idempotency_key": message.jobId},
    )
    connection.execute(COMPLETE_UNFENCED, [Jsonb({"emailId": sent["id"]}), message.jobId])
    log.info("sent", job_id=message.jobId)
    return Sent(jobId=message.jobId, status="completed", emailId=sent["id"])


handler = Mangum(app, lifespan="off")
