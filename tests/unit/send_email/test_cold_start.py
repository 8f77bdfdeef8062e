"""What importing the Lambda's entry costs: a web app that enqueues, and a Lambda."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NEVER = {"boto3", "fastapi", "httpx", "pydantic_settings", "qstash", "requests", "urllib3"}
BY_A_SEND = {"jinja2", "resend", "stashjobs.delivery.handler", "aws_lambda_powertools.logging"}
IMPORT = (
    "import sys; sys.path[:0] = ['shared', '.']; import functions.send_email.handler as h; "
    "assert callable(h.handler); print(*sys.modules)"
)


def imported(**environment: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def test_a_producer_of_an_email_imports_nothing_that_only_sends_it() -> None:
    assert imported().isdisjoint(NEVER | BY_A_SEND)


def test_another_lambda_imports_nothing_that_only_sends_it() -> None:
    """The relay and the API know every type, and have none of the packages."""
    assert imported(_HANDLER="functions.relay.handler.handler").isdisjoint(NEVER | BY_A_SEND)


def test_its_lambda_imports_what_a_send_needs_before_the_first_one() -> None:
    """And of Resend's SDK not the HTTP library that it does without."""
    modules = imported(_HANDLER="functions.send_email.handler.handler")
    assert modules >= BY_A_SEND
    assert modules.isdisjoint(NEVER)
