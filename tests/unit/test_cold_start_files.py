"""What importing the entries of the jobs that make files costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    "boto3",
    "fastapi",
    "httpx",
    "jinja2",
    "psycopg_pool",
    "qstash",
    "reportlab",
    "resend",
    "xlsxwriter",
]


@pytest.mark.parametrize("name", ["cleanup_old_data", "export_data", "generate_report"])
def test_importing_the_handler_imports_no_heavy_library(name: str) -> None:
    code = (
        f"import sys; sys.path[:0] = ['shared', '.']; import functions.{name}.handler as h; "
        f"assert callable(h.handler); print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
