"""Compile the templates to Python, so that no cold start has to: `make build` runs this.

python -m functions.send_email.compile_templates
"""

from __future__ import annotations

from jinja2 import FileSystemLoader

from functions.send_email.rendering import COMPILED_DIR, TEMPLATE_DIR, environment

if __name__ == "__main__":
    sources = environment().overlay(loader=FileSystemLoader(TEMPLATE_DIR))
    sources.compile_templates(COMPILED_DIR, zip=None, ignore_errors=False)
