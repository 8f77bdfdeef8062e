"""Compile the templates to Python, so that no cold start has to: `make build` runs this in what
goes to Lambda. In a checkout they are read from their sources.

python -m functions.send_email.compile_templates FOLDER
"""

from __future__ import annotations

import sys

from jinja2 import FileSystemLoader

from functions.send_email.rendering import TEMPLATE_DIR, environment

if __name__ == "__main__":
    sources = environment().overlay(loader=FileSystemLoader(TEMPLATE_DIR))
    sources.compile_templates(sys.argv[1], zip=None, ignore_errors=False)
