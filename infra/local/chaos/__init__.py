"""Breaks the local system on purpose, for as long as it takes to believe what design 1.1 promises.

`python -m infra.local.chaos --jobs 2000` (see docs/guarantees.md).
"""
