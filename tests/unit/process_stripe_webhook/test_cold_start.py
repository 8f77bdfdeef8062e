"""What importing the Lambdas' entries costs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = ["boto3", "fastapi", "httpx", "jinja2", "qstash", "requests", "resend", "stripe"]


@pytest.mark.parametrize("function", ["process_stripe_webhook", "create_notification"])
def test_importing_the_handler_imports_no_heavy_library(function: str) -> None:
    code = (
        f"import sys; sys.path[:0] = ['shared', '.']; import functions.{function}.handler as h; "
        f"assert callable(h.handler); print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
