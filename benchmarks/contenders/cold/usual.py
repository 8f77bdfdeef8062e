"""The usual way to send an email from a delivery, all in one function: two f-strings."""

import html
import logging

from fastapi import Request
from mangum import Mangum
from pydantic import BaseModel
from usual_parts import Sent, app, claim, send, verified

log = logging.getLogger("app")


class Email(BaseModel):
    to: str
    template: str
    data: dict[str, str]


class Message(BaseModel):
    jobId: str  # noqa: N815 - the wire's name
    type: str
    payload: Email


@app.post("/api/jobs/email")
async def deliver(request: Request) -> Sent:
    message = Message.model_validate_json(await verified(request))
    email = message.payload
    claim(message.jobId, message.type, email)
    name = email.data["name"]
    sent = send(
        message.jobId,
        email.to,
        "Welcome",
        f"<h1>Welcome, {html.escape(name)}</h1><p>Good to have you here.</p>",
        f"Welcome, {name}. Good to have you here.",
    )
    log.info("sent %s", message.jobId)
    return sent


handler = Mangum(app, lifespan="off")
