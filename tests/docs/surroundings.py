"""What the blocks of a guide take for granted: the names that the text around them explains."""

from __future__ import annotations

WITHOUT_CODE = {"", "mermaid"}
"""Pictures, and what a program has printed."""

SERVERS = ("stashjobs dev", "python -m infra.local.mailbox")
"""Commands that run until they are stopped."""

ELSEWHERE = ("--stage ", "aws ", "@host:5432", "stashjobs new ")
"""Marks of a command for a system in AWS, or that changes the repository: it must exist, with these
options; it is not run."""

_SAY_HELLO = """
from pydantic import BaseModel
from stashjobs import Context, job

class Greeting(BaseModel):
    name: str

@job("say-hello", endpoint="/api/jobs/hello", retries=3, timeout=20)
def say_hello(greeting: Greeting, context: Context) -> None: ...
"""

_AN_EMAIL = """
from functions.send_email.handler import send_email
from functions.send_email.models import Email as Email_

example = {"to": "ada@example.com", "template": "welcome",
           "data": {"name": "Ada", "getStartedUrl": "https://app.example.com/start"}}
"""

PYTHON_BEFORE = {
    "docs/connections.md": _AN_EMAIL
    + """
def Email(_): return Email_.model_validate(example)
from stashjobs import database
with database.pool().connection() as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS orders (number int, paid bool)")
""",
    "docs/creating-jobs.md": _AN_EMAIL
    + """
import psycopg, os
url = os.environ["POSTGRES_URL"]
email = example
with psycopg.connect(url) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS orders (number int, paid bool)")
""",
    "docs/email.md": """
import asyncio, resend

async def welcome(to, resend_url):
    resend.api_key, resend.api_url = "re_mine", resend_url
    for _ in range(3):
        try:
            return await asyncio.to_thread(resend.Emails.send, {
                "from": "me@example.com", "to": to, "subject": "Welcome", "text": "Hello"})
        except resend.exceptions.ResendError:
            continue
""",
    "docs/notifications.md": """
from stashjobs import Context
class context:
    @staticmethod
    def enqueue(job, payload, **options):
        return job.enqueue(payload, **options)
""",
    "docs/sealed-payloads.md": _SAY_HELLO
    + """
import base64, os, secrets
from psycopg.types.json import Jsonb
os.environ["PAYLOAD_KEYS"] = "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()
Payslip = Greeting
greeting = {"name": "Ada"}

from stashjobs import database, sealing
job_id = say_hello.enqueue(greeting, encrypted=True).job_id
result = sealing.seal({"said": "Hello"}, sealing.Place(job_id, "say-hello", "result"))
database.connection().execute(
    "UPDATE job_executions SET result = %s WHERE job_id = %s",
    [Jsonb(result), job_id])
""",
}

INSTEAD = {
    '"UPDATE ..."': '"UPDATE orders SET paid = true"',
    '"INSERT INTO orders ..."': '"INSERT INTO orders VALUES (7, false)"',
}
"""What is left out in a text for people, in full."""
