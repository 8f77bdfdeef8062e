"""The usual way, doing the same work as send-email: its template by Jinja, for HTML, text and
subject, and a line of Powertools' logger."""

import os

from aws_lambda_powertools import Logger
from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from mangum import Mangum
from pydantic import BaseModel
from usual_parts import Sent, app, claim, send, verified

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
async def deliver(request: Request) -> Sent:
    message = Message.model_validate_json(await verified(request))
    email = message.payload
    claim(message.jobId, message.type, email)
    values = {"brand": BRAND, "data": email.data, "template": email.template}
    subject = templates.from_string("Welcome to {{ brand.name }}, {{ data.name }}").render(values)
    values["subject"] = subject
    sent = send(
        message.jobId,
        email.to,
        subject,
        templates.get_template(f"{email.template}.html").render(values),
        templates.get_template(f"{email.template}.txt").render(values),
    )
    log.info("sent", job_id=message.jobId)
    return sent


handler = Mangum(app, lifespan="off")
