"""What the blocks of a guide take for granted: the names that the text around them explains."""

from __future__ import annotations

WITHOUT_CODE = {"", "mermaid"}
"""Pictures, and what a program has printed."""

NOT_COMPARED = {
    "docs/building.md": "what `make build` prints: sizes, which every build changes",
    "docs/cleanup.md": "how a file in S3 is called",
    "docs/concepts.md": "a picture",
    "docs/connections.md": "a sum",
    "docs/deployment.md": "a picture",
    "docs/monitoring.md": "a query of CloudWatch Logs Insights, and a picture",
    "docs/local.md": "addresses, which test_dev.py reads",
    "docs/producers.md": "the call of SQL in Node and Go, which need their drivers",
    "docs/encrypted-payloads.md": "a setting with shortened keys, and the bytes of a format",
}
"""Pages with blocks without a language that nothing is compared with, and what these are."""

COMPARED = {
    "docs/reference.md": "the whole page: test_reference.py",
    "docs/testing.md": "what a test says that fails: test_output",
}
"""Pages whose blocks without a language are what is said today."""

SERVERS = ("stashjobs dev", "python -m infra.local.mailbox")
"""Commands that run until they are stopped."""

ELSEWHERE = (
    *("--stage ", "aws ", "@host:5432", "sam deploy "),
    *("stashjobs new ", "stashjobs remove ", "git merge ", "enqueue say-hello"),
)
"""Marks of a command for a system in AWS, or that changes the repository: it must exist, with these
options, which take these values; it is not run."""

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

_ORDERS = """
from stashjobs.store import database
orders = database.connection()
orders.execute("CREATE TABLE IF NOT EXISTS orders (number int, paid bool)")
"""

PYTHON_BEFORE = {
    # The test of the page imports the job from the handler that the page has filled.
    "README.md": """
import sys, types
class Here(types.ModuleType):
    def __getattr__(self, name):
        if name in globals():
            return globals()[name]
        raise AttributeError(name)
sys.modules["functions.say_hello"] = sys.modules["functions.say_hello.handler"] = Here("here")
""",
    "docs/composition.md": """
from stashjobs import Context, PermanentError, batch, job
Nothing, url = dict, "https://example.com"

@job("fetch", endpoint="/api/jobs/fetch")
def fetch(payload: dict, context: Context) -> dict: return {"bytes": 7}
@job("resize", endpoint="/api/jobs/resize")
def resize(payload: dict, context: Context) -> dict: return {"bytes": 7}
@job("notify", endpoint="/api/jobs/notify")
def notify(payload: dict, context: Context) -> None: ...
collect = notify
""",
    "docs/connections.md": _AN_EMAIL
    + """
def Email(_): return Email_.model_validate(example)
from stashjobs.store import database
with database.pool().connection() as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS orders (number int, paid bool)")
""",
    "docs/steps.md": _ORDERS,
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
    "docs/encrypted-payloads.md": _SAY_HELLO
    + """
import base64, os, secrets
from psycopg.types.json import Jsonb
os.environ["PAYLOAD_KEYS"] = "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()
Payslip = Greeting
greeting = {"name": "Ada"}

from stashjobs import encryption
from stashjobs.store import database
job_id = say_hello.enqueue(greeting, encrypted=True).job_id
result = encryption.encrypt({"said": "Hello"}, encryption.Place(job_id, "say-hello", "result"))
database.connection().execute(
    "UPDATE job_executions SET result = %s WHERE job_id = %s",
    [Jsonb(result), job_id])
""",
}

PYTHON_AFTER = {
    "README.md": """
class jobs:
    def run_job(job, payload):
        return types.SimpleNamespace(job=ran(job, payload))
test_ada_is_greeted(jobs)
bob = ran(say_hello, {"name": "Bob"})
assert (bob.status, bob.error) == ("failed", "PermanentError: Bob is away"), bob.error
""",
    "docs/composition.md": """
assert ran(collect, {}).result == 0
for each in (fetch, resize, notify):
    assert ran(each, {}).status == "completed"
from stashjobs.operators.search import Filter, newest
from stashjobs.store import database
from stashjobs.testing.deliveries import lambda_context
for each in (import_part, collect_import, import_catalogue):
    assert ran(each, {"part": 1}).status == "completed"
from stashjobs.store.executions import Parent
collected = Parent("1", "a", "completed", {"rows": 1, "failed": 0}, None)
reported = Parent("1", "a", "failed", None, "no")
class Stub:
    def __init__(self, parent): self.parent = parent
    def parents(self): return [self.parent]
assert report_import({}, Stub(collected)) == "1 rows, 0 parts failed"
assert tell_team({}, Stub(reported)) == "the import failed: no"
assert ran(charge, {}).status == "failed"
[told] = newest(database.connection(), Filter(job_type="tell-support"))
tell_support.handler({"jobId": told.job_id, "type": "tell-support"}, lambda_context())
""",
    "docs/creating-jobs.md": """
assert ran(send_sms, {"message": "Hello"}).result == {"characters": 5}
assert ran(send_sms, send_sms.example()).status == "completed"
""",
    "docs/encrypted-payloads.md": """
assert ran(send_payslip, greeting).status == "completed"
assert ran(say_hello, greeting).status == "completed"
""",
    "docs/usage.md": _ORDERS
    + """
done = ran(import_orders, {"source": "shop", "orders": [{"number": 11}]})
assert (done.status, done.result) == ("completed", {"imported": 1}), done.error
assert orders.execute("SELECT count(*) FROM orders WHERE number = 11").fetchone()[0] == 1
assert ran(import_orders, {"source": "a pen"}).status == "failed"
""",
    "docs/steps.md": """
orders.execute("INSERT INTO orders VALUES (21, false)")
done = ran(fulfil_order, {"number": 21})
assert (done.status, done.result) == ("completed", {"payment": "pay-21"}), done.error
assert orders.execute("SELECT paid FROM orders WHERE number = 21").fetchone()[0]
steps = "SELECT name FROM job_steps WHERE job_id = %s ORDER BY position"
taken = orders.execute(steps, [done.job_id])
assert [name for (name,) in taken] == ["charge", "mark paid", *(f"ship part {n}" for n in range(3))]
""",
    "docs/webhooks.md": _ORDERS
    + """
from functions.process_webhook.handler import process_webhook
orders.execute("INSERT INTO orders VALUES (12, false)")
event = {"source": "acme", "event": "order.paid", "id": "1", "body": {"number": 12}}
done = ran(process_webhook, event)
assert (done.status, done.result) == ("completed", {"order": 12}), done.error
assert orders.execute("SELECT paid FROM orders WHERE number = 12").fetchone()[0]
""",
    "docs/hooks.md": """
done = ran(create_notification, hello)
assert done.status == "completed", done.error
""",
}
"""What calls the functions that a page only defines. `ran` is `tests.docs.run_python`'s."""

NOT_CALLED = {
    "docs/producers.md": {"create_notification": "only the app that enqueues it has it so"},
}
"""Functions that a page defines for somebody else to call, and why."""

RUN_ELSEWHERE = {
    "docs/testing.md": "it is a test file: tests/integration/test_testing_plugin.py",
    **dict.fromkeys(
        (f"docs/{name}.md" for name in ("django", "fastapi", "flask", "sqlalchemy")),
        "they need no stack: test_frameworks.py",
    ),
}
"""Pages whose Python is not run beside `make dev`."""

INSTEAD = {
    '"UPDATE ..."': '"UPDATE orders SET paid = true"',
    '"INSERT INTO orders ..."': '"INSERT INTO orders VALUES (7, false)"',
}
"""What is left out in a text for people, in full."""
