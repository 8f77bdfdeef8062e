"""What a source waits for when no Lambda is warm."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = ["boto3", "fastapi", "httpx", "pydantic", "qstash", "requests", "resend", "stripe"]
SENT = """
import sys; sys.path[:0] = ['shared', '.']
import json, os
from functions.webhooks.handler import handler
from tests import webhooks
os.environ.update(webhooks.SECRETS, POSTGRES_URL='postgresql://nobody@127.0.0.1:9/none')
"""


def loaded_after(program: str) -> list[str]:
    """Those of the heavy ones that a fresh interpreter has in the end."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{SENT}{program}\nprint(json.dumps(list(sys.modules)))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(set(HEAVY) & set(json.loads(ran.stdout.splitlines()[-1])))


def test_the_import_and_a_refusal_load_nothing_heavy() -> None:
    program = """
event = webhooks.event('github', b'{}', webhooks.github_headers(b'{ }'))
assert handler(event, None)['statusCode'] == 400
"""
    assert loaded_after(program) == []


def test_what_records_an_event_needs_neither_qstash_nor_a_sender_s_sdk() -> None:
    program = """
for source, headers in (('github', webhooks.github_headers), ('stripe', webhooks.stripe_headers)):
    body = webhooks.encode(webhooks.stripe_event())
    event = webhooks.event(source, body, headers(body))
    assert handler(event, None)['statusCode'] == 503
"""
    assert loaded_after(program) == ["pydantic"]
