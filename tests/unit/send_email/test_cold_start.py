"""What importing the Lambda's entry costs."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = ["boto3", "fastapi", "httpx", "jinja2", "pydantic_settings", "qstash", "requests", "resend"]


def test_importing_the_handler_imports_no_heavy_library() -> None:
    code = (
        "import sys; sys.path[:0] = ['shared', '.']; import functions.send_email.handler as h; "
        f"assert callable(h.handler); print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
